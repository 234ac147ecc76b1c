"""Controls of a running rollout. Called by ``services.rollouts``; ``rollout.machine.advance`` acts on them."""

from dataclasses import replace

from edgewright.core.rollout.state import ENDED, DeviceState, Phase, RolloutState
from edgewright.errors import EdgewrightError

_NOT_FAILURES = frozenset({"Paused", "Suspended", "NoEvidence"})
"""Reasons of a pause that accept nothing when a person resumes."""


def approve(state: RolloutState, wave: int) -> RolloutState:
    """Approve waves up to a number; 1 is the first.

    Raises:
        EdgewrightError: The rollout has ended already.
    """
    _refuse_ended(state, "approve")
    approved = max(state.controls.approved_before, wave)
    return replace(state, controls=replace(state.controls, approved_before=approved))


def pause(state: RolloutState) -> RolloutState:
    """Assign nothing new until resumed; devices in flight come to their end.

    Raises:
        EdgewrightError: The rollout has ended already.
    """
    _refuse_ended(state, "pause")
    return replace(state, controls=replace(state.controls, paused=True))


def resume(state: RolloutState) -> RolloutState:
    """Go on. What a failure paused for is accepted: these devices no longer halt the rollout, nor count for it.

    Raises:
        EdgewrightError: The rollout is not paused, or has ended.
    """
    _refuse_ended(state, "resume")
    if not state.controls.paused:
        hint = "set spec.suspend to false and commit" if state.reason == "Suspended" else ""
        raise EdgewrightError("the rollout is not paused, so there is nothing to resume", hint=hint)
    controls = replace(state.controls, paused=False)
    by_failure = state.phase is Phase.PAUSED and state.reason not in _NOT_FAILURES
    if by_failure:
        failed = {d for d, progress in state.devices.items() if progress.state is DeviceState.FAILED}
        gate = state.reason.startswith("DeviceGate")
        controls = replace(
            controls,
            accepted=tuple(sorted(failed | set(controls.accepted))),
            gates_accepted=controls.gates_accepted or gate,
        )
    if state.phase is not Phase.PAUSED:
        return replace(state, controls=controls)
    since = None if state.reason == "NoEvidence" else state.wave_since
    return replace(state, controls=controls, phase=Phase.ROLLING, wave_since=since, reason="Resumed", message="")


def abort(state: RolloutState) -> RolloutState:
    """Stop, return every device that got the release to its last verified one, and reject the release.

    Raises:
        EdgewrightError: The rollout has ended already.
    """
    _refuse_ended(state, "abort")
    return replace(state, controls=replace(state.controls, aborted=True))


def _refuse_ended(state: RolloutState, what: str) -> None:
    if state.key and state.phase in ENDED:
        hint = "to take a release back, revert the commit that brought it" if what == "abort" else ""
        raise EdgewrightError(f"the rollout has {state.phase} already: nothing to {what}", hint=hint)
