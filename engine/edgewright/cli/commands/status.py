"""``edgewright status``: how everything stands."""

from typing import TYPE_CHECKING, Any

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.render.quantities import count_text, short
from edgewright.cli.workspace import Workspace
from edgewright.core.planner import plan as compute
from edgewright.core.rollout_state import DeviceState

if TYPE_CHECKING:
    from edgewright.core.conditions import Condition


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", epilog="Example: edgewright status -o json")(status)


def status(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show every resource with its condition, and for rollouts how many devices are verified.

    Reads what is recorded and what devices have reported since; changes nothing.
    """
    from edgewright.core.conditions import conditions_of

    workspace = Workspace(repo, ref=ref, state=state, env=env)
    desired = workspace.source.snapshot()
    observed = workspace.reality(desired).observe(desired)
    found = compute(desired, observed, workspace.clock())
    applied = workspace.state.last_revision()
    rows = []
    for address in sorted(desired.resources):
        if address.kind == "repository":
            continue
        summary = observed.rollouts.get(address)
        conditions = conditions_of(address, found, summary, revision=applied or "", now=workspace.clock())
        counts = {s.value: n for s, n in summary.counts.items() if n} if summary else {}
        rows.append((str(address), conditions, counts))
    if output is Output.JSON:
        print_json(
            {
                "commit": desired.revision,
                "appliedCommit": applied,
                "resources": [
                    {"address": address, "conditions": [_condition(c) for c in conditions], "devices": counts}
                    for address, conditions, counts in rows
                ],
            }
        )
        return
    _print(desired.revision, applied, rows)


def _condition(condition: "Condition") -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "observedRevision": condition.observed_revision,
    }


def _print(commit: str, applied: str | None, rows: list[tuple[str, Any, dict[str, int]]]) -> None:
    from rich.text import Text

    from edgewright.cli.render.table import print_table

    console = stdout()
    last = f"applied last: {short(applied)}" if applied else "nothing applied yet"
    console.print(f"commit {short(commit)} ({last})")
    cells = []
    for address, conditions, counts in rows:
        headline = next((c for c in conditions if c.status == "True"), conditions[0])
        colour = {"Ready": "green", "Stalled": "red"}.get(headline.type, "yellow")
        name = headline.type if headline.status == "True" else f"Not{headline.type}"
        devices = ""
        if counts:
            total = sum(counts.values())
            devices = f"{counts.get(DeviceState.VERIFIED.value, 0)}/{total} verified"
            rest = [f"{n} {s}" for s, n in counts.items() if s != DeviceState.VERIFIED.value]
            devices += f" ({', '.join(rest)})" if rest else ""
        cells.append((address, Text(name, style=colour), headline.reason, devices, headline.message))
    if not rows:
        console.print(count_text(0, "resource"))
        return
    headings = ("RESOURCE", "STATUS", "REASON", "DEVICES", "MESSAGE")
    print_table(console, headings, cells, whole={"RESOURCE", "STATUS", "REASON"})
