"""``edgewright devices enroll | retire``: devices by an operator's word."""

from typing import Annotated, Any

import typer

from edgewright.cli.commands.devices.options import LabelsOption, labels_of
from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.errors import EdgewrightError
from edgewright.render.quantities import count_text
from edgewright.services import devices as services


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
    done = services.enroll(open_workspace(repo, state=state, env=env), device, labels_of(label))
    if output is Output.JSON:
        before = dict(done.labels_before) if done.labels_before is not None else None
        print_json({"device": device, "labels": dict(done.labels), "labelsBefore": before})
        return
    labels = ", ".join(f"{name}={value}" for name, value in sorted(done.labels.items())) or "no labels"
    stdout().print(f"{device}: {'enrolled' if done.labels_before is None else 'enrolled anew'} with {labels}")


def retire(
    devices: Annotated[list[str], typer.Argument(help="The devices' ids.")],
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Retire devices: their keys are revoked, they are enrolled no more, nothing more is brought to them.

    What they run they go on running. May be repeated.
    """
    done = services.retire(open_workspace(repo, state=state, env=env), devices)
    if output is Output.JSON:
        print_json([_json(device) for device in done.devices])
    else:
        for device in done.devices:
            _print(device)
    if done.failure is not None:
        what = f"their assignments could not be removed: {done.failure.message}"
        raise EdgewrightError(what, hint=done.failure.hint)


def _json(device: services.Retired) -> dict[str, Any]:
    return {
        "device": device.device,
        "keysRetired": list(device.keys),
        "unenrolled": device.unenrolled,
        "assignmentRemoved": device.unassigned,
        "listedIn": list(device.listed),
    }


def _print(device: services.Retired) -> None:
    parts = [f"{count_text(len(device.keys), 'key')} retired" if device.keys else "no key was accepted"]
    if device.unenrolled:
        parts.append("no longer enrolled")
    if device.unassigned:
        parts.append("assignment removed")
    console = stdout()
    console.print(f"{device.device}: {', '.join(parts)}; what it runs goes on running")
    if device.listed:
        fleets = ", ".join(f"fleet/{name}" for name in device.listed)
        again = "take it out, or it is assigned again"
        console.print(f"{device.device}: still listed in the inventory of {fleets}; {again}")
