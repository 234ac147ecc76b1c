"""Plans as text for a terminal: what happens, why, to how many devices, and what stands in the way."""

from collections.abc import Iterator

from rich.text import Text

from edgewright.cli.render.quantities import bytes_text, count_text, seconds_text, short, shorten
from edgewright.core.address import Address
from edgewright.core.plan import (
    KNOWN_AFTER_APPLY,
    AdvanceWave,
    Evaluate,
    GateOutcome,
    Note,
    Package,
    Plan,
    Prune,
    Publish,
    Reason,
    Rollback,
    StartRollout,
    Step,
    Train,
    WavePlan,
    action_of,
)

_SEVERITY = {"blocked": ("✗", "red"), "waiting": ("…", "yellow"), "warning": ("!", "yellow"), "info": ("·", "cyan")}


def plan_text(plan: Plan) -> Iterator[Text]:
    """Write a plan, line by line."""
    if plan.steps:
        yield Text.assemble("Plan for ", (_revision(plan.commit), "bold"), ":")
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


def summary_text(plan: Plan) -> str:
    """Write the last line: counts, or that there is nothing to do."""
    if plan.empty:
        return _nothing_text(plan)
    s = plan.summary
    parts = [
        f"{count} to {verb}"
        for count, verb in ((s.build, "build"), (s.train, "make"), (s.package, "package"), (s.prune, "prune"))
        if count
    ]
    if s.rollout:
        what = f"{s.rollout} to roll out"
        parts.append(f"{what} ({count_text(s.devices, 'device')}, {bytes_text(s.bytes)})" if s.devices else what)
    expected = sum(step.seconds or 0.0 for step in plan.steps)
    known = f" Builds take about {seconds_text(expected)}, going by the last time." if expected else ""
    return f"Plan: {', '.join(parts) or count_text(len(plan.steps), 'step')}.{known}"


def _nothing_text(plan: Plan) -> str:
    """Say that there is nothing to do, and whether that is because all is well."""
    counts = [sum(note.severity == severity for note in plan.notes) for severity in ("blocked", "waiting")]
    if not any(counts):
        return f"Nothing to do: reality matches {_revision(plan.commit)}."
    what = " and ".join(f"{n} {word}" for n, word in zip(counts, ("blocked", "waiting"), strict=True) if n)
    return f"Nothing can be done now for {_revision(plan.commit)}: {what}, as said above."


def _revision(commit: str) -> str:
    return "the work tree" if commit.startswith("worktree:") else f"commit {short(commit)}"


def sign_of(step: Step) -> tuple[str, str]:
    """Choose a step's sign and its colour."""
    if isinstance(step, Prune):
        return "-", "red"
    if isinstance(step, StartRollout | AdvanceWave | Publish):
        return "▸", "blue"
    if isinstance(step, Rollback):
        return "◂", "red"
    first = any(reason.field == "artifact" and reason.new == "first build" for reason in step.reasons)
    return ("+", "green") if first else ("~", "yellow")


def _step(step: Step) -> Iterator[Text]:
    sign, colour = sign_of(step)
    line = Text.assemble("  ", (sign, colour), f" {action_of(step):<13} ", (str(step.address), "bold"))
    if detail := detail_text(step):
        line.append(f"  {detail}", style="dim")
    yield line
    for reason in step.reasons:
        if reason.field not in {"artifact", "resource"}:
            yield Text.assemble("      ", (reason.field, "cyan"), f": {change_text(step, reason)}")
    if isinstance(step, Evaluate):
        for gate in step.gates:
            yield Text(f"      gate {gate}", style="dim")
    if isinstance(step, StartRollout):
        for wave in step.waves:
            yield Text(f"      wave {_wave(wave)}")


def change_text(step: Step, reason: Reason) -> str:
    """Write what a reason's field was and will be."""
    if reason.field == "fleet":
        return "its devices changed"
    unknown = reason.field == "package" and reason.new is None and isinstance(step, Publish | StartRollout)
    return f"{shorten(reason.old)} → {KNOWN_AFTER_APPLY if unknown else shorten(reason.new)}"


def _wave(wave: WavePlan) -> str:
    parts = [wave.name, count_text(wave.devices, "device"), bytes_text(wave.bytes)]
    if wave.soak_seconds:
        parts.append(f"then soaks {seconds_text(wave.soak_seconds)}")
    if wave.approval:
        parts.append("needs approval")
    return ", ".join(parts)


def detail_text(step: Step) -> str:
    """Write what a step does, in a phrase."""
    parts = []
    match step:
        case Train():
            parts.append(count_text(step.epochs, "epoch"))
        case Evaluate():
            what = f"{count_text(len(step.gates), 'gate')} to pass" if step.gates else "no gates"
            parts.append("the champion, on today's data" if step.subject == "champion" else what)
        case Package():
            parts.append(step.variant or "variant decided by the gates")
        case AdvanceWave():
            parts.append(f"wave {step.wave} of {step.waves}, {count_text(step.devices, 'device')} not there yet")
        case Rollback():
            parts.append(f"{count_text(step.devices, 'device')} return to the last verified package")
        case Publish():
            parts.append(bytes_text(step.bytes))
        case StartRollout(config_only=True):
            parts.append("configuration only")
        case _:
            pass
    if step.seconds:
        parts.append(f"about {seconds_text(step.seconds)}")
    if unless := getattr(step, "unless", ""):
        parts.append(f"unless {unless}")
    return "; ".join(parts)


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
