"""Plans as text for a terminal: what happens, why, to how many devices, and what stands in the way."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from edgewright.core.address import Address
from edgewright.core.gates import GateOutcome
from edgewright.core.planning.plan import Evaluate, Note, Plan, StartRollout, Step, WavePlan, action_of
from edgewright.core.review.findings import ReviewWarning
from edgewright.render.plan_words import (
    change_text,
    detail_text,
    revision_text,
    shown_reasons,
    sign_of,
    summary_text,
    systems_text,
    wave_bytes_text,
)
from edgewright.render.quantities import count_text, seconds_text

_SEVERITY = {"blocked": ("✗", "red"), "waiting": ("…", "yellow"), "warning": ("!", "yellow"), "info": ("·", "cyan")}


def plan_text(plan: Plan, findings: Sequence[ReviewWarning] = ()) -> Iterator[Text]:
    """Write a plan, line by line, and above it what a review found."""
    for finding in findings:
        yield _finding(finding)
    if findings:
        yield Text()
    if plan.steps:
        yield Text.assemble("Plan for ", (revision_text(plan.commit), "bold"), ":")
        yield Text()
    yield from plan_lines(plan)
    if plan.steps:
        yield Text()
    yield Text(summary_text(plan), style="bold")


def plan_lines(plan: Plan, only: Address | None = None) -> Iterator[Text]:
    """Write steps, notes and gates; of one resource alone where it is given."""
    for step in plan.steps:
        if only in {None, step.address}:
            yield from _step(step)
    for note in plan.notes:
        if only in {None, note.address}:
            yield from _note(note)
    blocked = {note.address for note in plan.notes if note.severity == "blocked" and note.gates}
    for address, outcomes in plan.verdicts.items():
        if only == address and address not in blocked:
            for outcome in outcomes:
                yield gate_text(outcome)


def _finding(finding: ReviewWarning) -> Text:
    sign, colour = _SEVERITY[finding.severity]
    where = f" ({finding.where})" if finding.where else ""
    return Text.assemble(
        "  ", (sign, colour), " ", (str(finding.address), "bold"), f" {finding.reason}: {finding.message}{where}"
    )


def _step(step: Step) -> Iterator[Text]:
    sign, colour = sign_of(step)
    line = Text.assemble("  ", (sign, colour), f" {action_of(step):<13} ", (str(step.address), "bold"))
    if detail := detail_text(step):
        line.append(f"  {detail}", style="dim")
    yield line
    reasons, more = shown_reasons(step)
    for reason in reasons:
        yield Text.assemble("      ", (reason.field, "cyan"), f": {change_text(step, reason)}")
    if more:
        yield Text(f"      {more}", style="dim")
    if isinstance(step, Evaluate):
        for gate in step.gates:
            yield Text(f"      gate {gate}", style="dim")
    if isinstance(step, StartRollout):
        for wave in step.waves:
            yield Text(f"      wave {_wave(wave)}")


def _wave(wave: WavePlan) -> str:
    parts = [wave.name, count_text(wave.devices, "device"), wave_bytes_text(wave)]
    if systems := systems_text(wave):
        parts.append(systems)
    if wave.soak_seconds:
        parts.append(f"then soaks {seconds_text(wave.soak_seconds)}")
    if wave.approval:
        parts.append("needs approval")
    return ", ".join(parts)


def _note(note: Note) -> Iterator[Text]:
    sign, colour = _SEVERITY[note.severity]
    yield Text.assemble("  ", (sign, colour), " ", (str(note.address), "bold"), f" {note.reason}: {note.message}")
    if note.severity == "blocked":
        for outcome in note.gates:
            yield gate_text(outcome)


def gate_text(outcome: GateOutcome) -> Text:
    """Write one gate's outcome."""
    mark, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}[outcome.passed]
    value = "no evidence" if outcome.value is None else f"{outcome.value:.6g}"
    detail = f" ({outcome.detail})" if outcome.detail else ""
    return Text.assemble("      ", (mark, colour), f" {outcome.gate}: {value}{detail}")
