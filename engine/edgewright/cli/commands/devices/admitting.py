"""``edgewright devices pending | approve | reject``: the keys that devices are known by."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.commands.devices.options import LabelsOption, labels_of
from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.services.admission import PendingKey

DeviceArgument = Annotated[str, typer.Argument(help="The device's id.")]
FingerprintOption = Annotated[
    str | None, typer.Option("--fingerprint", help="The key that is meant, or its beginning.", show_default=False)
]
_SHOWN = 15
"""Characters of a key that tell it from others: ``sha256:`` and eight digits."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("pending", epilog="Example: edgewright devices pending -o json")(pending)
    app.command("approve", epilog="Example: edgewright devices approve lane-7 --fingerprint sha256:9f2c41d0")(approve)
    app.command("reject", epilog="Example: edgewright devices reject lane-7 --fingerprint sha256:9f2c41d0")(reject)


def pending(
    repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None, output: OutputOption = Output.TEXT
) -> None:
    """List the keys that wait for an operator, oldest first.

    Anybody may ask in any device's name: compare a key with what the device itself shows before you approve it.
    """
    from edgewright.services.admission import list_pending

    found = list_pending(open_workspace(repo, state=state, env=env))
    if output is Output.JSON:
        from edgewright.render.device_json import identity_json

        print_json([identity_json(each.identity, each.other_key) for each in found])
    elif not found:
        stdout().print("no keys wait for approval")
    else:
        _print(found)


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
    """Accept a key as a device's, and enroll the device.

    Another key that was accepted until now is retired. Labels given here count before those the device was enrolled
    with, and these before what it says of itself.
    """
    from edgewright.services import admission

    workspace = open_workspace(repo, state=state, env=env)
    done = admission.approve(workspace, device, fingerprint, labels_of(label), as_device)
    key = done.identity
    if output is Output.JSON:
        from edgewright.render.device_json import identity_json

        print_json({**identity_json(key), "retired": list(done.retired)})
        return
    console = stdout()
    console.print(f"{key.device}: key {key.key} is accepted ({key.system})")
    for retired in done.retired:
        console.print(f"{key.device}: key {retired} is retired")


def reject(
    device: DeviceArgument,
    fingerprint: FingerprintOption = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Reject a key for good. The device may ask with another one."""
    from edgewright.services import admission

    key = admission.reject(open_workspace(repo, state=state, env=env), device, fingerprint)
    if output is Output.JSON:
        from edgewright.render.device_json import identity_json

        print_json(identity_json(key))
        return
    stdout().print(f"{device}: key {key.key} is rejected")


def _print(found: "Sequence[PendingKey]") -> None:
    from edgewright.cli.render.table import print_table
    from edgewright.render.device_json import token_problem

    lines = []
    for each in found:
        key = each.identity
        labels = ", ".join(f"{name}={value}" for name, value in sorted(key.labels.items()))
        notes = [f"accepted until now: {each.other_key[:_SHOWN]}"] if each.other_key else []
        if problem := token_problem(key):
            notes.append(f"token not accepted: {problem}")
        asked = f"{key.asked_at:%Y-%m-%d %H:%M:%S}"
        lines.append((key.device, key.system, key.key, asked, key.detail.get("peer") or "-", labels, "; ".join(notes)))
    headings = ("DEVICE", "SYSTEM", "KEY", "ASKED (UTC)", "FROM", "LABELS", "NOTE")
    print_table(stdout(), headings, lines, whole={"DEVICE", "SYSTEM", "KEY"})
