"""Plans as Markdown, for pull requests: a jinja2 template filled with words."""

from typing import Any

from edgewright.core.plan import Evaluate, GateOutcome, Note, Plan, StartRollout, Step, action_of
from edgewright.render.plan_words import change_text, detail_text, sign_of, summary_text
from edgewright.render.quantities import bytes_text, seconds_text

_MARKS = {True: "✅", False: "❌", None: "❔"}
_SEVERITY = {"blocked": "⛔", "waiting": "⏳", "warning": "⚠️", "info": "ℹ️"}


def plan_markdown(plan: Plan) -> str:
    """Write a plan for a pull request's comment."""
    from edgewright_templates.markdown import render_report

    return render_report(
        "plan",
        {
            "headline": _headline(plan),
            "steps": [_step(step) for step in plan.steps],
            "rollouts": [_rollout(step) for step in plan.steps if isinstance(step, StartRollout)],
            "verdicts": [
                {"address": str(address), "gates": [_gate(outcome) for outcome in outcomes]}
                for address, outcomes in plan.verdicts.items()
                if outcomes
            ],
            "notes": [_note(note) for note in plan.notes],
            "summary": summary_text(plan),
            "commit": plan.commit,
            "plan_id": plan.plan_id,
        },
    )


def _headline(plan: Plan) -> str:
    if not plan.empty:
        return "what merging this would do"
    blocked = any(note.severity == "blocked" for note in plan.notes)
    return "nothing can be done as it is" if blocked else "nothing to do"


def _step(step: Step) -> dict[str, Any]:
    changes = [
        f"`{reason.field}` {change_text(step, reason)}"
        for reason in step.reasons
        if reason.field not in {"artifact", "resource"}
    ]
    first = "first build" if any(r.new == "first build" for r in step.reasons) else ""
    detail = detail_text(step)
    if isinstance(step, Evaluate) and step.gates:
        detail += "<br>" + "<br>".join(f"gate: {gate}" for gate in step.gates)
    return {
        "sign": sign_of(step)[0],
        "action": action_of(step).value,
        "address": str(step.address),
        "detail": detail,
        "why": "<br>".join(changes) or first,
    }


def _rollout(step: StartRollout) -> dict[str, Any]:
    return {
        "address": str(step.address),
        "config_only": step.config_only,
        "waves": [
            {
                "name": wave.name,
                "devices": wave.devices,
                "bytes": bytes_text(wave.bytes),
                "soak": seconds_text(wave.soak_seconds) if wave.soak_seconds else "",
                "approval": wave.approval,
            }
            for wave in step.waves
        ],
    }


def _gate(outcome: GateOutcome) -> dict[str, Any]:
    return {
        "mark": _MARKS[outcome.passed],
        "words": outcome.gate,
        "value": "no evidence" if outcome.value is None else f"{outcome.value:.6g}",
        "detail": outcome.detail,
    }


def _note(note: Note) -> dict[str, Any]:
    return {
        "mark": _SEVERITY[note.severity],
        "reason": note.reason,
        "address": str(note.address),
        "message": note.message,
    }
