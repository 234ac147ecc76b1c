"""Rollouts as JSON: the format of ``rollout status -o json``, and of rollouts in ``status -o json``."""

from collections.abc import Mapping
from typing import Any

from edgewright.core.rollout.state import (
    Controls,
    DeviceProgress,
    DeviceState,
    Hold,
    Rejection,
    RolloutState,
    RolloutSummary,
    summarize,
)


def rollout_json(state: RolloutState, requested: Controls | None = None) -> dict[str, Any]:
    """Turn a rollout into JSON values: its summary, and each device in order of id.

    ``requested`` has the controls that people requested and no run has taken up yet; None where there are none.
    """
    devices: Mapping[str, DeviceProgress] = dict(sorted(state.devices.items()))
    return rollout_summary_json(summarize(state)) | {
        "requested": _controls(requested) if requested is not None else None,
        "devices": [
            {"device": device, **progress_json(progress), "held": _hold(state.held.get(device))}
            for device, progress in devices.items()
        ],
    }


def rollout_summary_json(summary: RolloutSummary) -> dict[str, Any]:
    """Turn a rollout without its devices into JSON values."""
    return {
        "phase": summary.phase.value,
        "reason": summary.reason,
        "message": summary.message,
        "package": summary.release.package if summary.release else None,
        "release": summary.release.fingerprint if summary.release else None,
        "wave": summary.wave + 1,
        "counts": {state.value: summary.counts.get(state, 0) for state in DeviceState},
        "rejected": [_rejection(rejection) for rejection in summary.rejected],
    }


def progress_json(progress: DeviceProgress) -> dict[str, Any]:
    """Turn a device's part in a rollout into JSON values."""
    return {
        "wave": progress.wave + 1,
        "state": progress.state.value,
        "since": progress.since.isoformat() if progress.since else None,
        "verified": progress.verified.package if progress.verified else None,
        "reason": progress.reason,
        "message": progress.message,
    }


def _hold(hold: Hold | None) -> dict[str, str] | None:
    return {"reason": hold.reason, "message": hold.message} if hold is not None else None


def _controls(controls: Controls) -> dict[str, Any]:
    return {"paused": controls.paused, "aborted": controls.aborted, "approvedWaves": controls.approved_before}


def _rejection(rejection: Rejection) -> dict[str, Any]:
    return {
        "package": rejection.package,
        "at": rejection.at.isoformat(),
        "reason": rejection.reason,
        "device": rejection.device,
        "message": rejection.message,
    }
