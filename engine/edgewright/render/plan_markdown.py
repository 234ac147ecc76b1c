"""Plans as Markdown, for pull requests: a jinja2 template filled with words."""

from collections.abc import Sequence
from typing import Any

from edgewright.core.gates import GateOutcome
from edgewright.core.planning.plan import Evaluate, Note, Plan, Reason, StartRollout, Step, action_of
from edgewright.core.review.findings import ReviewWarning
from edgewright.render.plan_words import (
    detail_text,
    old_and_new,
    shown_reasons,
    sign_of,
    summary_text,
    systems_text,
    wave_bytes_text,
)
from edgewright.render.quantities import seconds_text
from edgewright_templates.inert import Markdown, code, join

_MARKS = {True: "✅", False: "❌", None: "❔"}
_SEVERITY = {"blocked": "⛔", "waiting": "⏳", "warning": "⚠️", "info": "ℹ️"}
_BREAK = "<br>"


def plan_markdown(plan: Plan, findings: Sequence[ReviewWarning] = ()) -> str:
    """Write a plan, and what a review of it found, for a pull request's comment."""
    from edgewright_templates.markdown import render_report

    return render_report(
        "plan",
        {
            "headline": _headline(plan),
            "findings": [finding_values(finding) for finding in findings],
            "more_findings": 0,
            "plan": plan_values(plan),
            "commit": plan.commit,
            "plan_id": plan.plan_id,
        },
    )


def _headline(plan: Plan) -> str:
    if not plan.empty:
        return "what merging this would do"
    blocked = any(note.severity == "blocked" for note in plan.notes)
    return "nothing can be done as it is" if blocked else "nothing to do"


def plan_values(plan: Plan, limit: int | None = None) -> dict[str, Any]:
    """Prepare a plan for the templates; of each list no more than ``limit`` entries."""
    rollouts = [step for step in plan.steps if isinstance(step, StartRollout)]
    verdicts = [(address, outcomes) for address, outcomes in plan.verdicts.items() if outcomes]
    shown = plan.steps[:limit]
    left = len(plan.steps) - len(shown)
    return {
        "steps": [_step(step) for step in shown],
        "more": f"{left:,} more {'step' if left == 1 else 'steps'}" if left else "",
        "rollouts": [_rollout(step) for step in rollouts[:limit]],
        "verdicts": [
            {"address": str(address), "gates": [_gate(outcome) for outcome in outcomes[:limit]]}
            for address, outcomes in verdicts[:limit]
        ],
        "notes": [_note(note) for note in plan.notes[:limit]],
        "summary": summary_text(plan),
    }


def finding_values(finding: ReviewWarning, environments: str = "") -> dict[str, Any]:
    """Prepare a finding for the templates."""
    return {
        "mark": _SEVERITY[finding.severity],
        "reason": finding.reason,
        "address": str(finding.address),
        "where": finding.where,
        "message": finding.message,
        "environments": environments,
    }


def _step(step: Step) -> dict[str, Any]:
    reasons, more = shown_reasons(step)
    changes: list[object] = [_change(step, reason) for reason in reasons] + ([more] if more else [])
    first = "first build" if any(r.new == "first build" for r in step.reasons) else ""
    detail: list[object] = [detail_text(step)]
    if isinstance(step, Evaluate):
        detail += [f"gate: {gate}" for gate in step.gates]
    return {
        "sign": Markdown(sign_of(step)[0]),
        "action": action_of(step).value,
        "address": str(step.address),
        "detail": join(detail, _BREAK),
        "why": join(changes, _BREAK) if changes else first,
    }


def _change(step: Step, reason: Reason) -> Markdown:
    what: Sequence[object] = ["its devices changed"] if reason.field == "fleet" else old_and_new(step, reason)
    return join([code(reason.field), join(what, " → ")], " ")


def _rollout(step: StartRollout) -> dict[str, Any]:
    return {
        "address": str(step.address),
        "config_only": step.config_only,
        "waves": [
            {
                "name": wave.name,
                "devices": f"{wave.devices:,}" + (f": {systems}" if (systems := systems_text(wave)) else ""),
                "bytes": wave_bytes_text(wave),
                "soak": seconds_text(wave.soak_seconds) if wave.soak_seconds else "",
                "approval": wave.approval,
            }
            for wave in step.waves
        ],
    }


def _gate(outcome: GateOutcome) -> dict[str, Any]:
    value = "no evidence" if outcome.value is None else f"{outcome.value:.6g}"
    return {
        "mark": _MARKS[outcome.passed],
        "words": outcome.gate,
        "value": value + (f" ({outcome.detail})" if outcome.detail else ""),
    }


def _note(note: Note) -> dict[str, Any]:
    return {
        "mark": _SEVERITY[note.severity],
        "reason": note.reason,
        "address": str(note.address),
        "message": note.message,
    }
