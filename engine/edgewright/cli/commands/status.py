"""``edgewright status``: how everything stands."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import (
    HERE,
    DriftOption,
    EnvOption,
    Output,
    OutputOption,
    RefOption,
    RepoOption,
    StateOption,
)
from edgewright.cli.render.quantities import count_text, short
from edgewright.cli.workspace import Workspace
from edgewright.core.drift import DRIFTED, sentence
from edgewright.core.planner import plan as compute

if TYPE_CHECKING:
    from edgewright.core.conditions import Condition
    from edgewright.core.rollout_state import RolloutSummary


_MOST = 20
"""How many differences are listed."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", epilog="Example: edgewright status -o json")(status)


def status(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    drift: DriftOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show every resource with its condition, and for rollouts how many devices are verified.

    Reads what is recorded and what devices have reported since; changes nothing.
    """
    from edgewright.apply.following import accepted
    from edgewright.cli.render.plan_json import drift_json
    from edgewright.cli.render.standing import Standing, print_standings, standing_json
    from edgewright.core.conditions import as_kept, conditions_of_all

    workspace = Workspace(repo, ref=ref, state=state, env=env)
    desired = workspace.source.snapshot()
    observed = workspace.reality(desired).observe(desired, deep=drift)
    now = workspace.clock()
    applied, stored = workspace.state.last_revision(), workspace.state.conditions()
    in_force = accepted(workspace.state)
    found = conditions_of_all(
        sorted(desired.resources),
        compute(desired, observed, now),
        observed.rollouts,
        revision=applied or "",
        now=now,
        before=stored,
    )
    own = {address: tuple(its) for address, its in stored.items() if address.kind == "repository"}
    found = {address: as_kept(conditions, stored.get(address, ())) for address, conditions in found.items()}
    standings = [
        Standing(str(address), _dated(conditions, stored.get(address, ())), _counts(observed.rollouts.get(address)))
        for address, conditions in {**own, **found}.items()
    ]
    if output is Output.JSON:
        print_json(
            {
                "environment": workspace.env or None,
                "commit": desired.revision,
                "appliedCommit": applied,
                "inForceCommit": in_force,
                "resources": [standing_json(standing) for standing in standings],
                **({"drift": [drift_json(one) for one in observed.drift]} if drift else {}),
            }
        )
        return
    console = stdout()
    last = f"applied last: {short(applied)}" if applied else "nothing applied yet"
    if in_force is not None and in_force != desired.revision:
        last += f"; in force for edgewright serve: {short(in_force)}"
    where = f"environment {workspace.env}, " if workspace.env else ""
    console.print(f"{where}commit {short(desired.revision)} ({last})")
    if not standings:
        console.print(count_text(0, "resource"))
        return
    print_standings(console, standings, now)
    for one in observed.drift[:_MOST]:
        console.print(f"! {one.address} {DRIFTED}: {sentence(one)}")
    if len(observed.drift) > _MOST:
        console.print(f"  and {len(observed.drift) - _MOST:,} more; -o json lists all")


def _dated(conditions: "Sequence[Condition]", stored: "Sequence[Condition]") -> "tuple[Condition, ...]":
    """Leave out when a status began where the store does not know: it changed since conditions were judged last."""
    known = {(condition.type, condition.status): condition.since for condition in stored}
    return tuple(replace(one, since=known.get((one.type, one.status))) for one in conditions)


def _counts(summary: "RolloutSummary | None") -> dict[str, int]:
    return {state.value: n for state, n in summary.counts.items() if n} if summary else {}
