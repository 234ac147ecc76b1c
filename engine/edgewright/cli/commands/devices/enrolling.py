"""``edgewright devices enroll | retire``: which devices there are, by an operator's word."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from edgewright.cli.commands.devices.places import LabelsOption, Place, check_device, labels_of
from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.render.quantities import count_text
from edgewright.errors import EdgewrightError
from edgewright.ports import DeviceWriter


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("enroll", epilog="Example: edgewright devices enroll lane-8 --label region=eu --label ring=canary")(
        enroll
    )
    app.command("retire", epilog="Example: edgewright devices retire lane-7 lane-8")(retire)


def enroll(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    label: LabelsOption = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Add a device by hand, so that fleets can choose it by label; or replace the labels of one that is enrolled.

    Its key still has to be approved when it comes. Devices that inventories list need no enrolling.
    """
    check_device(device)
    labels = labels_of(label)
    place = Place(repo, state, env)
    place.workspace.make_folder()
    before = place.workspace.state.enrolled().get(device)
    place.workspace.state.enroll({device: labels})
    if output is Output.JSON:
        print_json({"device": device, "labels": labels, "labelsBefore": dict(before) if before is not None else None})
        return
    said = ", ".join(f"{name}={value}" for name, value in sorted(labels.items())) or "no labels"
    stdout().print(f"{device}: {'enrolled' if before is None else 'enrolled anew'} with {said}")


@dataclass(frozen=True, slots=True)
class _Retired:
    """What happened to one device."""

    device: str
    keys: tuple[str, ...]
    enrolled: bool
    assigned: bool
    listed: tuple[str, ...]
    """Fleets whose inventory lists it still."""


def retire(
    devices: Annotated[list[str], typer.Argument(help="The devices' ids.")],
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send devices away: their keys are believed no more, they are enrolled no more, nothing more is brought to them.

    What they run they go on running. May be repeated.
    """
    from edgewright.core.fleet.membership import declared
    from edgewright_schemas.fleet import Fleet

    place = Place(repo, state, env)
    workspace, desired = place.workspace, place.desired
    fleets = [resource.document for resource in desired.resources.values() if isinstance(resource.document, Fleet)]
    listed = {
        device: tuple(f.metadata.name for f in fleets if any(each.id == device for each in declared(desired, f)))
        for device in devices
    }
    admission, enrolled = place.admission(), workspace.state.enrolled()
    delivery = workspace.delivery(desired)
    assigned = delivery.assigned()
    unknown = [d for d in devices if not (listed[d] or d in enrolled or d in assigned or admission.identities(d))]
    if unknown:
        raise EdgewrightError(
            f"nobody knows {', '.join(unknown)}", hint="edgewright devices list shows those that are known"
        )
    keys = {device: tuple(key.key for key in admission.retire(device)) for device in devices}
    workspace.state.unenroll(devices)
    failure = _take_away(delivery, [device for device in devices if device in assigned])
    rows = [_Retired(d, keys[d], d in enrolled, d in assigned and failure is None, listed[d]) for d in devices]
    if output is Output.JSON:
        print_json([_json(row) for row in rows])
    else:
        for row in rows:
            _print(row)
    if failure is not None:
        raise EdgewrightError(f"what they are assigned could not be taken away: {failure.message}", hint=failure.hint)


def _take_away(delivery: DeviceWriter, devices: list[str]) -> EdgewrightError | None:
    """Assign devices nothing more, which calls off what they have not installed; gives what stood in the way."""
    if devices:
        try:
            delivery.retire(devices)
        except EdgewrightError as error:
            return error
    return None


def _json(row: _Retired) -> dict[str, Any]:
    return {
        "device": row.device,
        "keysRetired": list(row.keys),
        "unenrolled": row.enrolled,
        "assignmentRemoved": row.assigned,
        "listedIn": list(row.listed),
    }


def _print(row: _Retired) -> None:
    parts = [f"{count_text(len(row.keys), 'key')} retired" if row.keys else "it had no key that was believed"]
    if row.enrolled:
        parts.append("no longer enrolled")
    if row.assigned:
        parts.append("its assignment is taken away")
    console = stdout()
    console.print(f"{row.device}: {', '.join(parts)}; what it runs goes on running")
    if row.listed:
        fleets = ", ".join(f"fleet/{name}" for name in row.listed)
        console.print(f"{row.device}: still listed in the inventory of {fleets}; take it out, or it is assigned again")
