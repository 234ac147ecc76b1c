"""How a run ended, in words, in JSON and as an exit code."""

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from edgewright.cli.options import Exit
from edgewright.cli.render.plan_text import gate_text
from edgewright.cli.render.quantities import count_text, short
from edgewright.errors import Transient
from edgewright.reconcile.run import RunResult
from edgewright.render.plan_json import plan_json


def exit_code(outcome: RunResult) -> Exit:
    """Choose the exit code. What only did not answer, or had no space, is an error, not a fault of the specs."""
    if outcome.stopped:
        return Exit.INTERRUPTED
    if outcome.blocked or any(not isinstance(failure.error, Transient) for failure in outcome.failures):
        return Exit.BLOCKED
    if outcome.failures:
        return Exit.ERROR
    if outcome.converged:
        return Exit.OK
    return Exit.WAITING


def outcome_text(outcome: RunResult) -> Iterator[Text]:
    """Write how a run ended."""
    for failure in outcome.failures:
        yield Text.assemble(("✗", "red"), f" {failure.step}: {failure.error.message}")
        for line in failure.error.hint.splitlines():
            yield Text(f"    {line}", style="dim")
    for note in outcome.blocked:
        yield Text.assemble(("✗", "red"), " ", (str(note.address), "bold"), f" {note.reason}: {note.message}")
        for gate in note.gates:
            yield gate_text(gate)
    for note in outcome.waiting:
        yield Text.assemble(("…", "yellow"), " ", (str(note.address), "bold"), f" {note.reason}: {note.message}")
    if outcome.superseded_by:
        yield Text(f"A newer commit is there ({short(outcome.superseded_by)}); apply again to take it up.")
    elif outcome.stopped:
        yield Text("Stopped; apply again to go on from here.")
    elif outcome.timed_out:
        yield Text(f"Time is up with {count_text(len(outcome.plan.steps), 'step')} left; apply again to go on.")
    elif outcome.converged and any(note.severity == "warning" for note in outcome.drifted):
        what = f"Nothing more is done for commit {short(outcome.plan.commit)}, but reality does not match it:"
        yield Text(what, style="yellow")
        for note in outcome.drifted:
            yield Text.assemble(("!", "yellow"), " ", (str(note.address), "bold"), f" {note.reason}: {note.message}")
    elif outcome.converged:
        yield Text(f"Reality matches commit {short(outcome.plan.commit)}.", style="bold green")
    elif outcome.plan.steps and not outcome.failures and not outcome.blocked and not outcome.waiting:
        yield Text("What is left was not part of the plan that was approved; plan and apply again.")


def outcome_json(outcome: RunResult, code: Exit) -> dict[str, Any]:
    """Turn an outcome into JSON values."""
    return {
        "converged": outcome.converged,
        "exitCode": int(code),
        "timedOut": outcome.timed_out,
        "stopped": outcome.stopped,
        "supersededBy": outcome.superseded_by,
        "failures": [{"step": f.step, "message": f.error.message, "hint": f.error.hint} for f in outcome.failures],
        "remaining": plan_json(outcome.plan),
    }
