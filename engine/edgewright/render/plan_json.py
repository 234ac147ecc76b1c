"""Plans as JSON: the format of ``plan -o json`` and of saved plans."""

from collections.abc import Sequence
from typing import Any, assert_never

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.config_drift import ConfigDrift
from edgewright.core.gates import GateOutcome
from edgewright.core.planning.plan import (
    AdvanceWave,
    BuildDataset,
    BuildStep,
    Command,
    Evaluate,
    Export,
    Import,
    Note,
    Package,
    Plan,
    Prune,
    Publish,
    Repair,
    Rollback,
    StartRollout,
    Step,
    Train,
    action_of,
    step_id,
)
from edgewright.core.review.findings import ReviewWarning
from edgewright.core.rollout.state import RolloutSummary
from edgewright.render.rollout_json import rollout_summary_json

FORMAT_VERSION = 1


def plan_json(plan: Plan, findings: Sequence[ReviewWarning] | None = None) -> dict[str, Any]:
    """Turn a plan into JSON values, with what a review found where there was one."""
    found: dict[str, Any] = {} if findings is None else {"review": [_finding(finding) for finding in findings]}
    return found | {
        "formatVersion": FORMAT_VERSION,
        "commit": plan.commit,
        "observedDigest": plan.observed_digest,
        "planId": plan.plan_id,
        "steps": [_step(step) for step in plan.steps],
        "notes": [_note(note) for note in plan.notes],
        "verdicts": {
            str(address): [gate_json(outcome) for outcome in outcomes] for address, outcomes in plan.verdicts.items()
        },
        "summary": {
            "build": plan.summary.build,
            "train": plan.summary.train,
            "package": plan.summary.package,
            "rollout": plan.summary.rollout,
            "prune": plan.summary.prune,
            "repair": plan.summary.repair,
            "devices": plan.summary.devices,
            "bytes": plan.summary.bytes,
        },
    }


def explanation_json(
    plan: Plan,
    address: Address,
    reused: Sequence[Artifact],
    results: dict[str, Any] | None = None,
    rollout: RolloutSummary | None = None,
) -> dict[str, Any]:
    """Turn one resource's part in a plan into JSON values.

    Args:
        plan: The whole plan.
        address: The resource.
        reused: Its artifacts that are up to date.
        results: Its results as JSON values, where it was built.
        rollout: How it stands, where it is a rollout that has begun.
    """
    return {
        "address": str(address),
        "results": results,
        "rollout": rollout_summary_json(rollout) if rollout is not None else None,
        "steps": [_step(step) for step in plan.steps if step.address == address],
        "notes": [_note(note) for note in plan.notes if note.address == address],
        "verdict": [gate_json(outcome) for outcome in plan.verdicts.get(address, ())],
        "reused": [
            {
                "action": artifact.action.value,
                "fingerprint": artifact.fingerprint,
                "digest": artifact.digest,
                "createdAt": artifact.created_at.isoformat() if artifact.created_at else None,
                "components": dict(artifact.components),
                "environment": dict(artifact.environment),
            }
            for artifact in reused
        ],
    }


def _finding(finding: ReviewWarning) -> dict[str, Any]:
    where = finding.location
    return {
        "severity": finding.severity,
        "reason": finding.reason,
        "address": str(finding.address),
        "message": finding.message,
        "path": where.path if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
    }


def _step(step: Step) -> dict[str, Any]:
    common: dict[str, Any] = {
        "id": step_id(step),
        "address": str(step.address),
        "action": action_of(step).value,
        "reasons": [{"field": r.field, "old": r.old, "new": r.new} for r in step.reasons],
        "needs": list(step.needs),
    }
    if step.seconds is not None:
        common["expectedSeconds"] = round(step.seconds, 3)
    return common | _particulars(step)


def _particulars(step: Step) -> dict[str, Any]:
    match step:
        case StartRollout():
            return {
                "release": step.release.fingerprint if step.release else None,
                "package": step.release.package if step.release else None,
                "configOnly": step.config_only,
                "waves": [
                    {
                        "name": wave.name,
                        "devices": wave.devices,
                        "bytes": wave.bytes,
                        "likelyBytes": wave.likely_bytes,
                        "soakSeconds": wave.soak_seconds,
                        "approval": wave.approval,
                        **({"systems": dict(wave.systems), "unproved": wave.unproved} if wave.systems else {}),
                    }
                    for wave in step.waves
                ],
            }
        case AdvanceWave():
            return {"package": step.release.package, "wave": step.wave, "waves": step.waves, "devices": step.devices}
        case Rollback():
            return {"package": step.release.package, "devices": step.devices}
        case _:
            return _fixed_particulars(step)


def _fixed_particulars(step: BuildStep | Publish | Repair | Prune) -> dict[str, Any]:
    match step:
        case Publish():
            return {"package": step.package, "bytes": step.bytes}
        case Repair():
            return {"drift": [drift_json(d) for d in step.drifts], "underWay": [drift_json(d) for d in step.under_way]}
        case Prune():
            return {}
        case _:
            return _build_particulars(step)


def drift_json(drift: ConfigDrift) -> dict[str, Any]:
    """Turn one thing that has drifted into JSON values."""
    return {
        "subject": drift.subject.value,
        "name": drift.name,
        "field": drift.field,
        "expected": drift.expected,
        "found": drift.found,
        "remedy": drift.remedy.value,
        "detail": drift.detail,
    }


def _build_particulars(step: BuildStep) -> dict[str, Any]:
    found: dict[str, Any] = {"fingerprint": step.fingerprint, "knownAfterApply": step.fingerprint is None}
    if step.unless:
        found["unless"] = step.unless
    match step:
        case Train():
            found["epochs"] = step.epochs
        case Evaluate():
            found |= {"subject": step.subject, "gates": list(step.gates)}
        case Package():
            found |= {"variant": step.variant, "goldenTolerance": step.golden}
        case BuildDataset() | Import() | Command() | Export():
            pass
        case _:
            assert_never(step)
    return found


def gate_json(outcome: GateOutcome) -> dict[str, Any]:
    """Turn how a gate stands into JSON values."""
    return {
        "gate": outcome.gate,
        "passed": outcome.passed,
        "value": outcome.value,
        "limit": outcome.limit,
        "detail": outcome.detail,
    }


def _note(note: Note) -> dict[str, Any]:
    return {
        "address": str(note.address),
        "severity": note.severity,
        "reason": note.reason,
        "message": note.message,
        "gates": [gate_json(outcome) for outcome in note.gates],
    }
