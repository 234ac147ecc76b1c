"""``edgewright explain``: why a step would or would not run."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import (
    HERE,
    EnvOption,
    Output,
    OutputOption,
    RefOption,
    RepoOption,
    StateOption,
    WorktreeOption,
)
from edgewright.cli.render.plan_text import plan_lines
from edgewright.cli.workspaces import open_workspace
from edgewright.core.rollout.state import RolloutSummary
from edgewright.render.quantities import count_text, seconds_text, short, shorten
from edgewright.render.results_words import results_line
from edgewright.services import plans


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", epilog="Example: edgewright explain model/price-tag-reader --worktree")(explain)


def explain(
    address: Annotated[str, typer.Argument(help="A resource, like model/price-tag-reader.")],
    repo: RepoOption = HERE,
    ref: RefOption = None,
    worktree: WorktreeOption = False,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Explain why steps of one resource would or would not run: each part of a fingerprint that changed, old → new."""
    found = plans.explain(open_workspace(repo, ref=ref, worktree=worktree, state=state, env=env), address)
    if output is Output.JSON:
        from edgewright.render.plan_json import explanation_json
        from edgewright.render.results_json import results_json

        figures = results_json(found.results) if found.results is not None else None
        print_json(explanation_json(found.plan, found.address, found.reused, figures, found.rollout))
        return
    for line in list(_text(found)) or [_nothing_text(found)]:
        stdout().print(line)


def _nothing_text(found: plans.Explanation) -> str:
    """Write that there is nothing to explain, and where to look instead."""
    if found.address.kind in {"dataset", "model", "rollout"}:
        return f"{found.address} has nothing to do now"
    users = ", ".join(map(str, found.users))
    return f"{found.address} has no steps of its own" + (f"; it is used by {users}" if users else "")


def _rollout_text(rollout: RolloutSummary) -> Iterator[str]:
    package = f", package {short(rollout.release.package)}" if rollout.release else ""
    why = ": ".join(part for part in (rollout.reason, rollout.message) if part)
    yield f"  {rollout.phase.value}{package}" + (f" ({why})" if why else "")
    devices = ", ".join(f"{count} {state.value}" for state, count in rollout.counts.items() if count)
    if devices:
        yield f"  devices: {devices}"
    for rejection in rollout.rejected:
        by = f" by {rejection.device}" if rejection.device else ""
        yield f"✗ {short(rejection.package)} was rejected{by} at {rejection.at:%Y-%m-%d %H:%M} UTC: {rejection.reason}"
        if rejection.message:
            yield f"    {rejection.message}"
    if rollout.rejected:
        yield "    A rejected release is tried again once its model, its fleet or its rollout changes;"
        yield "    `edgewright rollout status` and `edgewright history` tell of each device."


def _text(found: plans.Explanation) -> Iterator[str | Text]:
    if found.results is not None:
        yield f"  {results_line(found.results)}"
    if found.rollout is not None:
        yield from _rollout_text(found.rollout)
    for artifact in found.reused:
        made = f"made {artifact.created_at:%Y-%m-%d %H:%M:%S} UTC" if artifact.created_at else "made"
        took = seconds_text(artifact.seconds)
        yield f"= {artifact.action} is up to date: {made} in {took}, fingerprint {short(artifact.fingerprint)}"
        parts = "  ".join(f"{field}={shorten(value, 24)}" for field, value in sorted(artifact.components.items()))
        yield f"    rests on {count_text(len(artifact.components), 'component')}: {parts}"
    yield from plan_lines(found.plan, only=found.address)
