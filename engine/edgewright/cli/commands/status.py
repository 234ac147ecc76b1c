"""``edgewright status``: the status of every resource, or of every device."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import print_error, print_json, print_json_list, stdout
from edgewright.cli.options import (
    HERE,
    DriftOption,
    EnvOption,
    Exit,
    Output,
    OutputOption,
    RefOption,
    RepoOption,
    StateOption,
)
from edgewright.cli.workspaces import open_workspace
from edgewright.core.config_drift import CONFIG_DRIFTED, describe_drift
from edgewright.render.quantities import count_text, short

if TYPE_CHECKING:
    from edgewright.core.status.environments import EnvironmentStatus
    from edgewright.services.environment import DeviceEnvironment

_MOST = 20
"""How many differences are listed."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "status", epilog="Examples: edgewright status · edgewright status --devices · edgewright status -o json"
    )(status)


def status(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    drift: DriftOption = False,
    devices: Annotated[
        bool, typer.Option("--devices", help="Every device: how it is reached, what it runs, what it has shown.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show every resource with its condition, and for rollouts how many devices are verified.

    Reads what is recorded and what devices have reported since; changes nothing. Where the specs or what is published
    cannot be read, it shows what edgewright serve recorded last, and ends with 1.
    """
    from edgewright.services.status import UNREADABLE, current_status, recorded_status

    workspace = open_workspace(repo, ref=ref, state=state, env=env)
    if devices:
        try:
            _show_devices(workspace, output)
            return
        except UNREADABLE as problem:
            found = recorded_status(workspace, problem)
    else:
        found = current_status(workspace, drift=drift)
    if found.problem is not None:
        print_error(found.problem, is_warning=True)
    if output is Output.JSON:
        from edgewright.render.status_json import status_json

        print_json(status_json(found))
    else:
        _print(found, workspace.clock())
    if found.problem is not None:
        raise typer.Exit(Exit.ERROR)


def _show_devices(workspace: "DeviceEnvironment", output: Output) -> None:
    """Show one table of all devices, whatever reaches them."""
    from edgewright.services.device_status import devices_in_rollouts

    found = devices_in_rollouts(workspace)
    if output is Output.JSON:
        from edgewright.render.device_json import device_json

        print_json_list(map(device_json, found))
        return
    from edgewright.cli.render.devices import print_rollout_devices

    print_rollout_devices(stdout(), found, workspace.clock())


def _print(found: "EnvironmentStatus", now: datetime) -> None:
    from edgewright.cli.render.status import print_resources

    console = stdout()
    where = f"environment {found.environment}, " if found.environment else ""
    what = f"commit {short(found.commit)}" if found.commit is not None else "as recorded last"
    console.print(f"{where}{what} ({_last(found)})")
    if not found.resources:
        console.print(count_text(0, "resource"))
        return
    print_resources(console, found.resources, now)
    drift = found.drift or ()
    for one in drift[:_MOST]:
        console.print(f"! {one.address} {CONFIG_DRIFTED}: {describe_drift(one)}")
    if len(drift) > _MOST:
        console.print(f"  and {len(drift) - _MOST:,} more; -o json lists all")


def _last(found: "EnvironmentStatus") -> str:
    """Name the revisions that count: the one the controller took up, and the one applied last."""
    known = [("in force", found.in_force), ("applied last", found.applied)]
    return "; ".join(f"{what}: {short(revision)}" for what, revision in known if revision) or "nothing applied yet"
