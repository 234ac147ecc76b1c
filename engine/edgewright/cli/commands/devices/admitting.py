"""``edgewright devices pending | approve | reject``: whose keys are believed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgewright.cli.commands.devices.places import LabelsOption, Place, labels_of
from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.ports import Identity

DeviceArgument = Annotated[str, typer.Argument(help="The device's id.")]
FingerprintOption = Annotated[
    str | None, typer.Option("--fingerprint", help="The key that is meant, or its beginning.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("pending", epilog="Example: edgewright devices pending -o json")(pending)
    app.command("approve", epilog="Example: edgewright devices approve lane-7 --fingerprint sha256:9f2c41d0")(approve)
    app.command("reject", epilog="Example: edgewright devices reject lane-7 --fingerprint sha256:9f2c41d0")(reject)


def pending(
    repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None, output: OutputOption = Output.TEXT
) -> None:
    """List the keys that wait to be believed, oldest first.

    Anybody may ask in any device's name: compare a key with what the device itself shows before you approve it.
    """
    from edgewright.ports import IdentityStatus

    admission = Place(repo, state, env).admission()
    rows = [
        _row(key, admission.identities(key.device)) for key in admission.identities(standing=IdentityStatus.PENDING)
    ]
    rows.sort(key=lambda row: (row["askedAt"], row["device"]))
    if output is Output.JSON:
        print_json(rows)
    elif not rows:
        stdout().print("no device waits")
    else:
        _print(rows)


def approve(
    device: DeviceArgument,
    fingerprint: FingerprintOption = None,
    label: LabelsOption = None,
    as_device: Annotated[
        str | None,
        typer.Option("--as", help="The inventory's id, where a Mender client says another.", show_default=False),
    ] = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Believe that a key is a device's, and enroll the device.

    Another key that was believed until now is retired. Labels given here count before those the device was enrolled
    with, and these before what it says of itself.
    """
    from edgewright.ports import IdentityStatus

    admission = Place(repo, state, env).admission()
    key = admission.find(device, fingerprint, [IdentityStatus.PENDING] if fingerprint is None else list(IdentityStatus))
    before = [
        each for each in admission.identities(as_device or device, IdentityStatus.ACCEPTED) if each.key != key.key
    ]
    decided = admission.approve(key, labels_of(label), as_device)
    if output is Output.JSON:
        print_json({**_row(decided, ()), "retired": [each.key for each in before if each.system == key.system]})
        return
    console = stdout()
    console.print(f"{decided.device}: key {decided.key} is believed ({decided.system})")
    for each in before:
        if each.system == key.system:
            console.print(f"{decided.device}: key {each.key} is retired")


def reject(
    device: DeviceArgument,
    fingerprint: FingerprintOption = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Turn a key away for good. The device may ask with another one."""
    from edgewright.ports import IdentityStatus

    admission = Place(repo, state, env).admission()
    key = admission.find(device, fingerprint, [IdentityStatus.PENDING])
    admission.reject(key)
    if output is Output.JSON:
        print_json({**_row(key, ()), "standing": IdentityStatus.REJECTED.value})
        return
    stdout().print(f"{device}: key {key.key} is rejected")


def _row(key: "Identity", others: "Iterable[Identity]") -> dict[str, Any]:
    from edgewright.delivery.identity.admission import REFUSED_BECAUSE

    known = [each for each in others if each.key != key.key and each.standing.value == "accepted"]
    return {
        "device": key.device,
        "system": key.system,
        "key": key.key,
        "standing": key.standing.value,
        "askedAt": key.asked_at.isoformat(),
        "from": key.detail.get("peer"),
        "labels": dict(key.labels),
        "deviceClass": key.detail.get("class") or None,
        "otherKey": known[0].key if known else None,
        "tokenProblem": key.detail.get(REFUSED_BECAUSE),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from edgewright.cli.render.table import print_table

    lines = []
    for row in rows:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(row["labels"].items()))
        notes = [f"believed until now: {row['otherKey'][:15]}"] if row["otherKey"] else []
        notes += [f"token not accepted: {row['tokenProblem']}"] if row["tokenProblem"] else []
        asked = row["askedAt"][:19].replace("T", " ")
        lines.append((row["device"], row["system"], row["key"], asked, row["from"] or "-", labels, "; ".join(notes)))
    headings = ("DEVICE", "SYSTEM", "KEY", "ASKED (UTC)", "FROM", "LABELS", "NOTE")
    print_table(stdout(), headings, lines, whole={"DEVICE", "SYSTEM", "KEY"})
