"""Devices as JSON: their status, their keys and their tokens. The format of ``devices … -o json`` and of
``status --devices -o json``.
"""

from typing import Any

from edgewright.core.status.devices import DeviceModel, DeviceStatus, TokenStatus
from edgewright.ports import Identity
from edgewright.render.rollout_json import progress_json


def device_json(status: DeviceStatus) -> dict[str, Any]:
    """Turn the status of a device into JSON values."""
    return {
        "device": status.device,
        "fleet": status.fleet,
        "labels": dict(status.labels),
        "system": status.system,
        "proof": status.proof,
        "lastSeen": status.last_seen.isoformat() if status.last_seen else None,
        "clockSkewSeconds": round(status.clock_skew.total_seconds()),
        "assignmentVersion": status.assignment_version,
        "models": [_model(model) for model in status.models],
        "rollouts": [
            {"rollout": each.rollout, "model": each.model.model, **progress_json(each.progress)}
            for each in status.rollouts
        ],
        "reason": status.reason,
    }


def _model(model: DeviceModel) -> dict[str, Any]:
    report = model.report
    return {
        "model": model.model,
        "assigned": model.assigned,
        "installed": report.installed if report else None,
        "active": report.active if report else None,
        "verified": report.verified if report else None,
        "shown": model.shown or None,
        "phase": report.phase.value if report else None,
        "reason": report.reason if report else "",
        "message": report.message if report else "",
    }


def identity_json(identity: Identity, other_key: str | None = None) -> dict[str, Any]:
    """Turn a device's key into JSON values; ``other_key`` is the one the device is known by now."""
    return {
        "device": identity.device,
        "system": identity.system,
        "key": identity.key,
        "status": identity.status.value,
        "askedAt": identity.asked_at.isoformat(),
        "from": identity.detail.get("peer"),
        "labels": dict(identity.labels),
        "deviceClass": identity.detail.get("class") or None,
        "otherKey": other_key,
        "tokenProblem": token_problem(identity),
    }


def token_problem(identity: Identity) -> str | None:
    """Return why the token that a key came with was not accepted."""
    problem: str | None = identity.detail.get("tokenProblem")  # as delivery.identity.enrollment keeps it
    return problem


def token_json(token: TokenStatus) -> dict[str, Any]:
    """Turn an enrollment token into JSON values."""
    return {
        "name": token.name,
        "madeAt": token.made_at.isoformat(),
        "expires": token.expires.isoformat(),
        "uses": token.uses,
        "admitted": list(token.admitted),
        "labels": dict(token.labels),
        "allowedLabels": list(token.allowed),
        "problem": token.problem,
    }
