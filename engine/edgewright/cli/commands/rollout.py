"""``edgewright rollout``: show and control rollouts. A control is a request that the running or next apply takes up."""

from typing import Annotated

import typer

from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.core.address import Address
from edgewright.core.rollout.state import Controls, RolloutState
from edgewright.render.quantities import short
from edgewright.services import rollouts

app = typer.Typer(help="Show and control rollouts.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="rollout")


NameArgument = Annotated[str, typer.Argument(help="The rollout's name.")]


@app.command("status", epilog="Example: edgewright rollout status price-tag-reader -o json")
def status(
    name: NameArgument,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the status of a rollout and of each of its devices."""
    workspace = open_workspace(repo, state=state, env=env)
    found = rollouts.find_rollout(workspace, name)
    requested = rollouts.requested_controls(workspace, name)
    address = rollouts.rollout_address(name)
    if output is Output.JSON:
        from edgewright.render.rollout_json import rollout_json

        print_json({"address": str(address), **rollout_json(found, requested)})
        return
    _print(address, found, requested)


@app.command("pause", epilog="Example: edgewright rollout pause price-tag-reader")
def pause(name: NameArgument, repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None) -> None:
    """Assign nothing more until resumed, or until a new release takes its place; devices under way finish."""
    _print_requested(rollouts.pause(open_workspace(repo, state=state, env=env), name), "is to be paused")


@app.command("resume", epilog="Example: edgewright rollout resume price-tag-reader")
def resume(name: NameArgument, repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None) -> None:
    """Go on after a pause."""
    _print_requested(rollouts.resume(open_workspace(repo, state=state, env=env), name), "is to be resumed")


@app.command("approve", epilog="Example: edgewright rollout approve price-tag-reader --wave 3")
def approve(
    name: NameArgument,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    wave: Annotated[
        int | None, typer.Option("--wave", min=1, help="Up to this wave.", show_default="the next that needs it")
    ] = None,
) -> None:
    """Approve a wave that waits for it, or that will."""
    made = rollouts.approve(open_workspace(repo, state=state, env=env), name, wave)
    if not made.is_new:
        further = f"; to approve wave {made.wave + 1} too: --wave {made.wave + 1}" if wave is None else ""
        stderr().print(f"{made.address}: wave {made.wave} is approved already{further}")
        return
    turn = f" before its turn: wave {made.under_way} is under way" if made.wave > made.under_way + 1 else ""
    _print_requested(made.address, f"is approved up to wave {made.wave}{turn}")


@app.command("abort", epilog="Example: edgewright rollout abort price-tag-reader")
def abort(name: NameArgument, repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None) -> None:
    """Stop, return every touched device to its last verified package, and reject the release."""
    _print_requested(rollouts.abort(open_workspace(repo, state=state, env=env), name), "is to be aborted")


def _print_requested(address: Address, done: str) -> None:
    stderr().print(f"{address} {done}; the running or the next apply acts on it")


def _print(address: Address, found: RolloutState, requested: Controls | None) -> None:
    from edgewright.cli.render.table import print_table

    console = stdout()
    package = short(found.release.package) if found.release else "none"
    why = f" ({found.reason}: {found.message})" if found.reason else ""
    console.print(f"{address}: {found.phase.value}, package {package}{why}")
    if waiting := rollouts.requested_change(found.controls, requested):
        console.print(f"{waiting} was requested; the running or the next apply acts on it")
    rows = []
    for device, progress in sorted(found.devices.items(), key=lambda item: (item[1].wave, item[0])):
        since = f"{progress.since:%Y-%m-%d %H:%M:%S}" if progress.since else "-"
        verified = short(progress.verified.package) if progress.verified else "-"
        told = found.held.get(device) or progress
        reason = ": ".join(part for part in (told.reason, told.message) if part)
        wave = str(progress.wave + 1) if progress.wave >= 0 else "-"
        rows.append((wave, device, progress.state.value, since, verified, reason))
    headings = ("WAVE", "DEVICE", "STATE", "SINCE (UTC)", "VERIFIED", "WHY")
    print_table(console, headings, rows, whole={"DEVICE", "STATE", "VERIFIED"})
    for rejection in found.rejected:
        why = rejection.message or rejection.reason
        console.print(f"rejected: {short(rejection.package)} at {rejection.at:%Y-%m-%d %H:%M} UTC: {why}")
