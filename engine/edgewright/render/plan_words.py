"""Plans in words that need neither a terminal nor Markdown. Used by the renderers of both."""

from edgewright.core.config_drift import CONFIG_DRIFTED
from edgewright.core.planning.plan import (
    KNOWN_AFTER_APPLY,
    AdvanceWave,
    Evaluate,
    Package,
    Plan,
    Prune,
    Publish,
    Reason,
    Repair,
    Rollback,
    StartRollout,
    Step,
    Train,
    WavePlan,
)
from edgewright.render.quantities import bytes_text, count_text, seconds_text, short, shorten

_MOST = 10
"""How many differences of one repair are shown."""


def summary_text(plan: Plan) -> str:
    """Write the last line: counts, or that there is nothing to do."""
    if plan.empty:
        return _nothing_text(plan)
    expected = sum(step.seconds or 0.0 for step in plan.steps)
    known = f" Builds take about {seconds_text(expected)}, going by the last time." if expected else ""
    return f"Plan: {counts_text(plan)}.{known}"


def systems_text(wave: WavePlan) -> str:
    """Write by which update systems a wave's devices are reached: ``2 agent + 1 ssh (1 shows installation only)``.

    Empty where all are agents.
    """
    text = " + ".join(f"{count:,} {system}" for system, count in wave.systems.items())
    shows = "shows" if wave.unproved == 1 else "show"
    return f"{text} ({wave.unproved:,} {shows} installation only)" if wave.unproved else text


def wave_bytes_text(wave: WavePlan) -> str:
    """Write what a wave fetches: ``182 KiB``, or ``about 182 KiB`` if the new package is as large as the old one."""
    if wave.bytes is None and wave.likely_bytes is not None:
        return f"about {bytes_text(wave.likely_bytes)}"
    return bytes_text(wave.bytes)


def counts_text(plan: Plan) -> str:
    """Write how much there is to do: ``1 to build, 1 to roll out (12 devices, 3.1 MiB)``."""
    s = plan.summary
    parts = [
        f"{count} to {verb}"
        for count, verb in (
            (s.build, "build"),
            (s.train, "make"),
            (s.package, "package"),
            (s.prune, "prune"),
            (s.repair, "repair"),
        )
        if count
    ]
    if s.rollout:
        what = f"{s.rollout} to roll out"
        parts.append(f"{what} ({count_text(s.devices, 'device')}, {bytes_text(s.bytes)})" if s.devices else what)
    return ", ".join(parts) or (count_text(len(plan.steps), "step") if plan.steps else "nothing to do")


def _nothing_text(plan: Plan) -> str:
    """Write that there is nothing to do, and whether that is because all is well."""
    counts = [sum(note.severity == severity for note in plan.notes) for severity in ("blocked", "waiting")]
    if not any(counts) and any(note.reason == CONFIG_DRIFTED for note in plan.notes):
        return f"Nothing to do for {revision_text(plan.commit)}, but reality does not match it, as said above."
    if not any(counts):
        return f"Nothing to do: reality matches {revision_text(plan.commit)}."
    what = " and ".join(f"{n} {word}" for n, word in zip(counts, ("blocked", "waiting"), strict=True) if n)
    return f"Nothing can be done now for {revision_text(plan.commit)}: {what}, as said above."


def revision_text(revision: str) -> str:
    """Name a revision: ``commit 1a2b3c4d5e6f``, or the work tree."""
    return "the work tree" if revision.startswith("worktree:") else f"commit {short(revision)}"


def sign_of(step: Step) -> tuple[str, str]:
    """Choose a step's sign and its colour."""
    if isinstance(step, Prune):
        return "-", "red"
    if isinstance(step, StartRollout | AdvanceWave | Publish):
        return "▸", "blue"
    if isinstance(step, Rollback):
        return "◂", "red"
    if isinstance(step, Repair):
        return "↻", "yellow"
    first = any(reason.field == "artifact" and reason.new == "first build" for reason in step.reasons)
    return ("+", "green") if first else ("~", "yellow")


def old_and_new(step: Step, reason: Reason) -> tuple[str, str]:
    """Write what a reason's field was and what it will be, both short."""
    unknown = reason.field == "package" and reason.new is None and isinstance(step, Publish | StartRollout)
    return shorten(reason.old), KNOWN_AFTER_APPLY if unknown else shorten(reason.new)


def change_text(step: Step, reason: Reason) -> str:
    """Write what a reason's field was and will be, in one phrase."""
    if reason.field == "fleet":
        return "its devices changed"
    return " → ".join(old_and_new(step, reason))


def shown_reasons(step: Step) -> tuple[list[Reason], str]:
    """Choose the reasons to show; a repair may have thousands, whose rest is only counted, in words."""
    shown = [reason for reason in step.reasons if reason.field not in {"artifact", "resource"}]
    if not isinstance(step, Repair) or len(shown) <= _MOST:
        return shown, ""
    return shown[:_MOST], f"and {len(shown) - _MOST:,} more"


def _evaluate_words(step: Evaluate) -> str:
    if step.subject == "champion":
        return "the champion, on today's data"
    return f"{count_text(len(step.gates), 'gate')} to pass" if step.gates else "no gates"


def _repair_words(step: Repair) -> list[str]:
    words = []
    if step.drifts:
        words.append(f"{count_text(len(step.drifts), 'difference')}: what was found → what it should be")
    if step.under_way:
        words.append(f"{count_text(len(step.under_way), 'device')} repaired, not verified there yet")
    return words


def detail_text(step: Step) -> str:
    """Write what a step does, in a phrase."""
    parts = []
    match step:
        case Train():
            parts.append(count_text(step.epochs, "epoch"))
        case Evaluate():
            parts.append(_evaluate_words(step))
        case Package():
            parts.append(step.variant or "variant decided by the gates")
            parts += [f"golden samples within {step.golden}"] if step.golden else []
        case AdvanceWave():
            parts.append(f"wave {step.wave} of {step.waves}, {count_text(step.devices, 'device')} not there yet")
        case Rollback():
            parts.append(f"{count_text(step.devices, 'device')} return to the last verified package")
        case Publish():
            parts.append(bytes_text(step.bytes))
        case Repair():
            parts += _repair_words(step)
        case StartRollout(config_only=True):
            parts.append("configuration only")
        case StartRollout() if any(reason.field == "fleet" for reason in step.reasons):
            parts.append("devices that run this release keep it as it is; those that joined get it")
        case _:
            pass
    if step.seconds:
        parts.append(f"about {seconds_text(step.seconds)}")
    if unless := getattr(step, "unless", ""):
        parts.append(f"unless {unless}")
    return "; ".join(parts)
