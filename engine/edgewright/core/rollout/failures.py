"""Failures that stop a rollout: failed devices, devices that lost what they had verified, device gates."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from edgewright.core.gates import GateOutcome, device_gates, evaluate_device_gates
from edgewright.core.rollout.devices import VERIFICATION_LOST
from edgewright.core.rollout.run import Run
from edgewright.core.rollout.state import IN_FLIGHT, PROVED, DeviceProgress, DeviceState
from edgewright.core.rollout.waves import NO_WAVE
from edgewright_schemas.thresholds import Gate

_EPSILON = 1e-9
"""0.98 of 50 devices is 49, not a little more."""


@dataclass(frozen=True, slots=True)
class RolloutFailure:
    """Reason that stops a rollout."""

    reason: str
    message: str
    device: str = ""


@dataclass(slots=True)
class _Tally:
    verified: int = 0
    failed: int = 0
    open: int = 0


def find_failure(run: Run) -> RolloutFailure | None:
    """Return the failure that stops the rollout now, without waiting for devices that are still under way."""
    accepted = frozenset(run.state.controls.accepted)
    tallies = [_Tally() for _ in range(run.state.wave + 1)]
    failed: list[tuple[datetime, str, DeviceProgress]] = []
    for device, progress in run.devices.items():
        if not NO_WAVE < progress.wave <= run.state.wave or device in accepted:
            continue
        tally = tallies[progress.wave]
        if progress.state in PROVED:
            tally.verified += 1
        elif progress.state is DeviceState.FAILED:
            tally.failed += 1
            failed.append((progress.since or run.now, device, progress))
        elif progress.state is DeviceState.PENDING or progress.state in IN_FLIGHT:
            tally.open += 1
    failed.sort(key=lambda item: item[:2])
    for _, device, progress in failed:
        if progress.reason == VERIFICATION_LOST:
            return RolloutFailure(VERIFICATION_LOST, f"{device}: {progress.message}", device)
    for wave, tally in enumerate(tallies):
        counted = tally.verified + tally.failed + tally.open
        if counted and tally.verified + tally.open < run.spec.success.min_ratio * counted - _EPSILON:
            return _too_many_failed(run, wave, tally, counted, failed)
        if tally.failed and not tally.verified and not tally.open:
            return _too_many_failed(run, wave, tally, counted, failed)
    return _gate_failed(run)


def _too_many_failed(
    run: Run, wave: int, tally: _Tally, counted: int, failed: list[tuple[datetime, str, DeviceProgress]]
) -> RolloutFailure:
    device, progress = next((d, p) for _, d, p in failed if p.wave == wave)
    why = ": ".join(part for part in (progress.reason, progress.message) if part)
    message = (
        f"{tally.failed} of {counted} {'device' if counted == 1 else 'devices'} of wave {wave + 1} failed, "
        f"and success.minRatio is {run.spec.success.min_ratio:g}; the first was {device} ({why})"
    )
    return RolloutFailure("DevicesFailed", message, device)


def _gate_failed(run: Run) -> RolloutFailure | None:
    if run.state.controls.gates_accepted:
        return None
    for gate, outcome in _outcomes(run):
        if outcome.passed is False:
            device = _worst(run, gate)
            message = f"{outcome.gate}: measured {outcome.value:g} on {device}"
            return RolloutFailure("DeviceGateFailed", message, device)
    return None


def find_failure_at_end(run: Run) -> RolloutFailure | None:
    """Return the failure of a device gate that is still without evidence when every wave has passed."""
    if run.state.controls.gates_accepted:
        return None
    for _, outcome in _outcomes(run):
        if outcome.passed is None:
            return RolloutFailure("DeviceGateInconclusive", f"{outcome.gate}: {outcome.detail}")
    return None


def unmeasurable(run: Run) -> str:
    """Name a device gate that no wave of the rollout can give evidence for; empty when there is none."""
    if run.state.controls.gates_accepted:
        return ""
    classes = {run.views[d].device_class for d, progress in run.devices.items() if progress.wave != NO_WAVE}
    missing = sorted({gate.device_class or "" for gate in device_gates(run.goal.device_gates)} - classes)
    if not missing:
        return ""
    return f"a gate asks for figures from devices of class {', '.join(missing)}, and no wave has one"


def _outcomes(run: Run) -> Iterator[tuple[Gate, GateOutcome]]:
    gates = device_gates(run.goal.device_gates)
    if not gates:
        return iter(())
    measurements: dict[str, list[float | None]] = {}
    for device in run.devices:
        if run.settled(device):
            view = run.views[device]
            measurements.setdefault(view.device_class, []).append(view.latency_p95_ms)
    return zip(gates, evaluate_device_gates(gates, measurements), strict=True)


def _worst(run: Run, gate: Gate) -> str:
    measured = [
        (run.views[device].latency_p95_ms or 0.0, device)
        for device in run.devices
        if run.settled(device) and run.views[device].device_class == gate.device_class
    ]
    high = gate.max is not None and max(measured)[0] > gate.max
    return (max(measured) if high else min(measured))[1]
