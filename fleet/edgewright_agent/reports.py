"""Reports of models, derived from the observed device. Pure. Called by ``agent`` and the installer."""

from datetime import datetime

from edgewright_agent.decide import DeviceView, ModelView, Refusal
from edgewright_agent.models.state import DeviceState, ModelState
from edgewright_wire.messages import ModelAssignment, ModelReport, Phase


def phase_of(model: ModelView, target: ModelAssignment | None, version: int) -> Phase:
    """Return how far a model is with its assignment."""
    if target is None:
        return Phase.IDLE
    if model.failed(target, version):
        return Phase.FAILED
    if model.running == target:
        return Phase.VERIFIED if model.verified == target else Phase.PROBING
    if model.holds(model.idle) == target:
        return Phase.PROBING if model.probed == target else Phase.STAGED
    return Phase.FETCHING


def model_reports(
    device: DeviceView, state: DeviceState, troubles: dict[str, Refusal], now: datetime
) -> tuple[ModelReport, ...]:
    """Report each assigned model: installed, active and verified.

    Args:
        device: What is so.
        state: For results of probes, and since when a phase lasts.
        troubles: By model, what hinders it now but may pass.
        now: The wall clock.
    """
    if device.accepted is None:
        return ()
    return tuple(
        _model_report(
            device.models.get(target.model, ModelView(target.model)),
            state.model(target.model),
            target,
            version=device.accepted.version,
            trouble=troubles.get(target.model),
            now=now,
        )
        for target in device.accepted.models
    )


def _model_report(
    model: ModelView,
    kept: ModelState,
    target: ModelAssignment,
    *,
    version: int,
    trouble: Refusal | None,
    now: datetime,
) -> ModelReport:
    phase = phase_of(model, target, version)
    reason, message, probe = "", "", kept.probe
    if phase is Phase.FAILED and model.failure is not None:
        reason, message, probe = model.failure.reason, model.failure.message, model.failure.probe or probe
    elif trouble is not None and phase is not Phase.VERIFIED:
        reason, message = trouble.reason, trouble.message
    running = model.running
    whole = {held.package.digest for held in model.slots.values() if held is not None}
    installed = target.package.digest if target.package.digest in whole else None
    return ModelReport(
        model=target.model,
        phase=phase,
        release=target.release,
        installed=installed or (running.package.digest if running is not None else None),
        active=running.package.digest if running is not None else None,
        active_release=running.release if running is not None else None,
        verified=running.package.digest if running is not None and running == model.verified else None,
        reason=reason,
        message=message[:2000],
        probe=probe if phase in {Phase.PROBING, Phase.VERIFIED, Phase.FAILED} else None,
        since=kept.since if kept.phase == phase and kept.since is not None else now,
    )
