"""The outcome of a run, in words and as an exit code. Called by ``apply``."""

from collections.abc import Iterator

from rich.text import Text

from edgewright.cli.options import Exit
from edgewright.cli.render.plan_text import gate_text
from edgewright.core.planning.plan import Note
from edgewright.errors import Transient
from edgewright.render.quantities import count_text, short
from edgewright.services.runs import RunResult


def exit_code(result: RunResult) -> Exit:
    """Choose the exit code. What only did not answer, or had no space, is an error, not a fault of the specs."""
    if result.stopped:
        return Exit.INTERRUPTED
    if result.blocked or any(not isinstance(failure.error, Transient) for failure in result.failures):
        return Exit.BLOCKED
    if result.failures:
        return Exit.ERROR
    if result.converged:
        return Exit.OK
    return Exit.WAITING


def outcome_text(result: RunResult) -> Iterator[Text]:
    """Write the outcome of a run."""
    for failure in result.failures:
        yield Text.assemble(("✗", "red"), f" {failure.step}: {failure.error.message}")
        for line in failure.error.hint.splitlines():
            yield Text(f"    {line}", style="dim")
    for note in result.blocked:
        words = _without_repeats(note, result)
        yield Text.assemble(("✗", "red"), " ", (str(note.address), "bold"), f" {note.reason}: {words}")
        for gate in note.gates:
            yield gate_text(gate)
    for note in result.waiting:
        yield Text.assemble(("…", "yellow"), " ", (str(note.address), "bold"), f" {note.reason}: {note.message}")
    if result.superseded_by:
        yield Text(f"A newer commit is there ({short(result.superseded_by)}); apply again to take it up.")
    elif result.stopped:
        yield Text("Stopped; apply again to go on from here.")
    elif result.timed_out:
        yield Text(f"Time is up with {count_text(len(result.plan.steps), 'step')} left; apply again to go on.")
    elif result.converged and any(note.severity == "warning" for note in result.drifted):
        what = f"Nothing more is done for commit {short(result.plan.commit)}, but reality does not match it:"
        yield Text(what, style="yellow")
        for note in result.drifted:
            yield Text.assemble(("!", "yellow"), " ", (str(note.address), "bold"), f" {note.reason}: {note.message}")
    elif result.converged:
        yield Text(f"Reality matches commit {short(result.plan.commit)}.", style="bold green")
    elif result.plan.steps and not result.failures and not result.blocked and not result.waiting:
        yield Text("What is left was not part of the plan that was approved; plan and apply again.")


def _without_repeats(note: Note, result: RunResult) -> str:
    """Return a note's message without what stands beside it: the failure above, or the gates below."""
    shown = any(failure.error.message in note.message for failure in result.failures)
    if not shown and not note.gates:
        return note.message
    head = note.message.partition(": ")[0]
    return f"{head}, as said above" if shown else head
