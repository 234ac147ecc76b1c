"""``edgewright status``: how everything stands."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import print_error, print_json, stdout
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
from edgewright.cli.render.quantities import count_text, short
from edgewright.cli.workspaces import open_workspace
from edgewright.core.config_drift import DRIFTED, sentence
from edgewright.core.planning.planner import plan as compute
from edgewright.errors import (
    DeliveryError,
    DeliveryUnavailable,
    EdgewrightError,
    SourceError,
    SourceUnavailable,
    SpecError,
)
from edgewright.wiring.workspace import Workspace

if TYPE_CHECKING:
    from edgewright.core.planning.observed import Observed
    from edgewright.core.rollout.state import RolloutSummary
    from edgewright.core.snapshot import Snapshot
    from edgewright.core.status.conditions import Condition


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
    workspace = open_workspace(repo, ref=ref, state=state, env=env)
    try:
        desired = workspace.source.snapshot()
        observed = workspace.reality(desired).observe(desired, deep=drift)
    except (SourceError, SourceUnavailable, SpecError, DeliveryError, DeliveryUnavailable) as problem:
        _show_recorded(workspace, problem, output)
        raise typer.Exit(Exit.ERROR) from problem
    if devices:
        _show_devices(workspace, desired, output)
        return
    _show(workspace, desired, observed, drift, output)


def _show_devices(workspace: Workspace, desired: "Snapshot", output: Output) -> None:
    """Show one table of all devices, whatever reaches them."""
    from edgewright.cli.render.fleet import device_standings, devices_json, print_devices
    from edgewright.core.address import Address
    from edgewright.core.fleet.routes import find_routes
    from edgewright.services.device_troubles import find_troubles

    store = workspace.state
    reports = dict(store.reports())
    for report in workspace.delivery(desired).observe({id_: r.sequence for id_, r in reports.items()}):
        reports[report.device] = report
    rollouts = {}
    for rollout in desired.rollouts():
        found = store.rollout(Address("rollout", rollout.metadata.name))
        if found is not None:
            rollouts[rollout.metadata.name] = (rollout.spec.model, found)
    standings = device_standings(find_routes(desired, store.enrolled()), rollouts, reports, find_troubles(store))
    if output is Output.JSON:
        print_json(devices_json(standings))
        return
    print_devices(stdout(), standings, workspace.clock())


def _show(workspace: Workspace, desired: "Snapshot", observed: "Observed", drift: bool, output: Output) -> None:
    """Judge everything now, and show it."""
    from edgewright.cli.render.standing import RepositoryStatus, print_standings, standing_json
    from edgewright.core.status.conditions import as_kept, conditions_of_all
    from edgewright.reconcile.accepted import accepted
    from edgewright.render.plan_json import drift_json

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
        RepositoryStatus(
            str(address), _dated(conditions, stored.get(address, ())), _counts(observed.rollouts.get(address))
        )
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
    console.print(f"{_where(workspace)}commit {short(desired.revision)} ({_last(in_force, applied)})")
    if not standings:
        console.print(count_text(0, "resource"))
        return
    print_standings(console, standings, now)
    for one in observed.drift[:_MOST]:
        console.print(f"! {one.address} {DRIFTED}: {sentence(one)}")
    if len(observed.drift) > _MOST:
        console.print(f"  and {len(observed.drift) - _MOST:,} more; -o json lists all")


def _show_recorded(workspace: Workspace, problem: EdgewrightError, output: Output) -> None:
    """Show the conditions that were recorded last, where how things stand now cannot be told.

    Raises:
        EdgewrightError: The problem itself: nothing is recorded.
    """
    from edgewright.cli.render.standing import RepositoryStatus, print_standings, standing_json
    from edgewright.reconcile.accepted import accepted

    try:
        stored, rollouts = workspace.state.conditions(), workspace.state.rollout_summaries()
        applied, in_force = workspace.state.last_revision(), accepted(workspace.state)
    except EdgewrightError:
        raise problem from None
    if not stored:
        raise problem
    standings = [
        RepositoryStatus(str(address), stored[address], _counts(rollouts.get(address)))
        for address in sorted(stored, key=lambda address: (address.kind != "repository", address))
    ]
    print_error(problem, is_warning=True)
    if output is Output.JSON:
        print_json(
            {
                "environment": workspace.env or None,
                "commit": None,
                "appliedCommit": applied,
                "inForceCommit": in_force,
                "stale": True,
                "problem": str(problem),
                "resources": [standing_json(standing) for standing in standings],
            }
        )
        return
    console = stdout()
    console.print(f"{_where(workspace)}as recorded last ({_last(in_force, applied)})")
    print_standings(console, standings, workspace.clock())


def _where(workspace: Workspace) -> str:
    return f"environment {workspace.env}, " if workspace.env else ""


def _last(in_force: str | None, applied: str | None) -> str:
    """Say which revisions count: the one the controller took up, and the one applied last."""
    known = [("in force", in_force), ("applied last", applied)]
    return "; ".join(f"{what}: {short(revision)}" for what, revision in known if revision) or "nothing applied yet"


def _dated(conditions: "Sequence[Condition]", stored: "Sequence[Condition]") -> "tuple[Condition, ...]":
    """Leave out when a status began where the store does not know: it changed since conditions were judged last."""
    known = {(condition.type, condition.status): condition.since for condition in stored}
    return tuple(replace(one, since=known.get((one.type, one.status))) for one in conditions)


def _counts(summary: "RolloutSummary | None") -> dict[str, int]:
    return {state.value: n for state, n in summary.counts.items() if n} if summary else {}
