"""``edgewright devices list``: devices, how each is reached, and what it runs."""

from typing import Annotated

import typer

from edgewright.cli.console import print_json_list, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list", epilog="Example: edgewright devices list --fleet stores -o json")(list_devices)


def list_devices(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    fleet: Annotated[str | None, typer.Option("--fleet", help="Only this fleet's devices.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List devices with their labels, how they are reached, what they are assigned and what they say they run.

    PROOF is the most a device is asked to show: that its golden samples ran (verified), or that its update system says
    that a release is in place (installed).
    Devices that report but are in no fleet are listed as well, with ``-`` as their fleet.
    """
    from edgewright.services import device_status

    found = device_status.list_devices(open_workspace(repo, ref=ref, state=state, env=env), fleet)
    if output is Output.JSON:
        from edgewright.render.device_json import device_json

        print_json_list(map(device_json, found))
        return
    from edgewright.cli.render.devices import print_devices

    print_devices(stdout(), found)
