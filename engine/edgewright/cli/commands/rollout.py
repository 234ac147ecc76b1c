"""``edgewright rollout``: see and steer rollouts. Steering is a request that the running or next apply takes up."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer

from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.render.quantities import short
from edgewright.cli.workspaces import open_workspace
from edgewright.core.address import Address
from edgewright.core.rollout import controls as steer
from edgewright.core.rollout.state import DeviceState, RolloutState, summarize
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError
from edgewright.wiring.workspace import Workspace

app = typer.Typer(help="See and steer rollouts.", no_args_is_help=True)


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
    """Show where a rollout and each of its devices stand."""
    found = _find(open_workspace(repo, state=state, env=env), name)
    if output is Output.JSON:
        print_json(rollout_json(name, found))
        return
    from edgewright.cli.render.table import print_table

    console = stdout()
    package = short(found.release.package) if found.release else "none"
    why = f" ({found.reason}: {found.message})" if found.reason else ""
    console.print(f"rollout/{name}: {found.phase.value}, package {package}{why}")
    rows = []
    for device, progress in sorted(found.devices.items(), key=lambda item: (item[1].wave, item[0])):
        since = f"{progress.since:%Y-%m-%d %H:%M:%S}" if progress.since else "-"
        verified = short(progress.verified.package) if progress.verified else "-"
        reason = ": ".join(part for part in (progress.reason, progress.message) if part)
        wave = str(progress.wave + 1) if progress.wave >= 0 else "-"
        rows.append((wave, device, progress.state.value, since, verified, reason))
    headings = ("WAVE", "DEVICE", "STATE", "SINCE (UTC)", "VERIFIED", "WHY")
    print_table(console, headings, rows, whole={"DEVICE", "STATE", "VERIFIED"})
    for rejection in found.rejected:
        why = rejection.message or rejection.reason
        console.print(f"rejected: {short(rejection.package)} at {rejection.at:%Y-%m-%d %H:%M} UTC: {why}")


@app.command("pause", epilog="Example: edgewright rollout pause price-tag-reader")
def pause(name: NameArgument, repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None) -> None:
    """Assign nothing more until resumed; devices under way finish."""
    _request(open_workspace(repo, state=state, env=env), name, "paused", steer.pause)


@app.command("resume", epilog="Example: edgewright rollout resume price-tag-reader")
def resume(name: NameArgument, repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None) -> None:
    """Go on after a pause."""
    _request(open_workspace(repo, state=state, env=env), name, "resumed", steer.resume)


@app.command("approve", epilog="Example: edgewright rollout approve price-tag-reader --wave 3")
def approve(
    name: NameArgument,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    wave: Annotated[int | None, typer.Option("--wave", min=1, help="Up to this wave.", show_default="the next")] = None,
) -> None:
    """Say yes to a wave that needs it."""
    _request(
        open_workspace(repo, state=state, env=env),
        name,
        "approved",
        lambda found: steer.approve(found, wave or found.wave + 1),
    )


@app.command("abort", epilog="Example: edgewright rollout abort price-tag-reader")
def abort(name: NameArgument, repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None) -> None:
    """Stop, return every touched device to its last verified package, and reject the release."""
    _request(open_workspace(repo, state=state, env=env), name, "to be aborted", steer.abort)


def _find(workspace: Workspace, name: str) -> RolloutState:
    address = Address("rollout", name.removeprefix("rollout/"))
    found = workspace.state.rollout(address)
    if found is None:
        known = [known.name for known in workspace.state.rollout_summaries()]
        hint = suggestion(address.name, known) or "no rollout has started yet: edgewright apply"
        raise EdgewrightError(f"{address} has not started", hint=hint)
    return found


def _request(workspace: Workspace, name: str, done: str, change: Callable[[RolloutState], RolloutState]) -> None:
    address = Address("rollout", name.removeprefix("rollout/"))
    found = _find(workspace, name)
    asked = workspace.state.requested_controls().get(address, found.controls)
    workspace.state.request_controls(address, change(replace(found, controls=asked)).controls)
    stderr().print(f"{address} {done}; the running or the next apply acts on it")


def rollout_json(name: str, state: RolloutState) -> dict[str, Any]:
    """Turn a rollout into JSON values."""
    summary = summarize(state)
    return {
        "address": f"rollout/{name}",
        "phase": state.phase.value,
        "reason": state.reason,
        "message": state.message,
        "package": state.release.package if state.release else None,
        "release": state.release.fingerprint if state.release else None,
        "wave": state.wave + 1,
        "counts": {device_state.value: summary.counts.get(device_state, 0) for device_state in DeviceState},
        "devices": [
            {
                "device": device,
                "wave": progress.wave + 1,
                "state": progress.state.value,
                "since": progress.since.isoformat() if progress.since else None,
                "verified": progress.verified.package if progress.verified else None,
                "reason": progress.reason,
                "message": progress.message,
            }
            for device, progress in sorted(state.devices.items())
        ],
        "rejected": [
            {
                "package": r.package,
                "at": r.at.isoformat(),
                "reason": r.reason,
                "device": r.device,
                "message": r.message,
            }
            for r in state.rejected
        ],
    }
