"""Controls of a running rollout. ``services.rollouts`` stores requests, ``reconcile.rollouts`` takes them up.

A request is an action, not a state: what has happened since it was made is not undone by it. One that cannot be carried
out any more is dropped, with an event.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgewright.core.rollout.goal import RolloutEvent
from edgewright.core.rollout.state import (
    ENDED,
    ControlAction,
    ControlRequest,
    Controls,
    DeviceState,
    Phase,
    RolloutState,
)
from edgewright.errors import EdgewrightError

REQUEST_DROPPED = "RequestDropped"
_NOT_FAILURES = frozenset({"Paused", "Suspended", "NoEvidence"})
"""Reasons of a pause that accept nothing when a person resumes."""
_BY_OTHERS = frozenset({"Paused", "Suspended"})
"""Reasons of a pause that is no failure's."""


def approve(state: RolloutState, wave: int) -> RolloutState:
    """Approve waves up to a number; 1 is the first.

    Raises:
        EdgewrightError: The rollout has ended already, or an abort was requested.
    """
    _refuse_ended(state, "approve")
    _refuse_aborted(state, "approve")
    approved = max(state.controls.approved_before, wave)
    return replace(state, controls=replace(state.controls, approved_before=approved))


def pause(state: RolloutState) -> RolloutState:
    """Assign nothing new until resumed; devices in flight come to their end.

    Raises:
        EdgewrightError: The rollout has ended already, or an abort was requested.
    """
    _refuse_ended(state, "pause")
    _refuse_aborted(state, "pause")
    return replace(state, controls=replace(state.controls, paused=True, by_person=True))


def resume(state: RolloutState) -> RolloutState:
    """Go on. What a failure paused for is accepted: these devices no longer halt the rollout, nor count for it.

    Raises:
        EdgewrightError: The rollout is not paused, has ended, or an abort was requested.
    """
    _refuse_ended(state, "resume")
    _refuse_aborted(state, "resume")
    if not state.controls.paused:
        hint = "set spec.suspend to false and commit" if state.reason == "Suspended" else ""
        raise EdgewrightError("the rollout is not paused, so there is nothing to resume", hint=hint)
    controls = replace(state.controls, paused=False, by_person=False)
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


def request(state: RolloutState, pending: Controls | None, action: ControlAction, wave: int = 0) -> Controls:
    """Add a request to those that are pending of a rollout.

    Raises:
        EdgewrightError: It cannot be carried out, as far as is known now.
    """
    asked = replace(state, controls=pending or state.controls)
    after = _carry_out(asked, action, wave).controls
    before = pending.requests or _as_requests(state.controls, pending) if pending else ()
    number = 1 + max([state.controls.taken, *(each.number for each in before)])
    release = state.release.fingerprint if state.release else ""
    return replace(after, requests=(*before, ControlRequest(action, number, release, wave)))


def take_up(state: RolloutState, requested: Controls) -> tuple[RolloutState, Sequence[RolloutEvent]]:
    """Carry out the requests that a rollout has not taken up before; each that cannot be is dropped with an event."""
    events = []
    for each in requested.requests or _as_requests(state.controls, requested):
        if each.number <= state.controls.taken:
            continue
        try:
            if each.release and state.release and each.release != state.release.fingerprint:
                raise EdgewrightError("another release has taken its place since")
            state = _carry_out(state, each.action, each.wave)
        except EdgewrightError as error:
            events.append(dropped(each.action, f"was requested, and is not carried out: {error.message}"))
        state = replace(state, controls=replace(state.controls, taken=each.number, requests=()))
    return state, events


def _as_requests(now: Controls, wanted: Controls) -> tuple[ControlRequest, ...]:
    """Find the requests in controls that an earlier version stored as a whole."""
    actions = []
    if wanted.approved_before > now.approved_before:
        actions.append(ControlAction.APPROVE)
    if wanted.paused != now.paused:
        actions.append(ControlAction.PAUSE if wanted.paused else ControlAction.RESUME)
    if wanted.aborted and not now.aborted:
        actions.append(ControlAction.ABORT)
    numbers = range(now.taken + 1, now.taken + 1 + len(actions))
    return tuple(
        ControlRequest(action, number, wave=wanted.approved_before)
        for action, number in zip(actions, numbers, strict=True)
    )


def dropped(action: ControlAction, why: str) -> RolloutEvent:
    """Return the event of a request that is not, or no longer, carried out."""
    return RolloutEvent(REQUEST_DROPPED, f"{action} {why}")


def is_paused_by_person(state: RolloutState) -> bool:
    """Return whether a person asked for the pause; that of a failure ends with a changed spec."""
    controls = state.controls
    return controls.paused and (controls.by_person or state.phase is not Phase.PAUSED or state.reason in _BY_OTHERS)


def _carry_out(state: RolloutState, action: ControlAction, wave: int) -> RolloutState:
    match action:
        case ControlAction.APPROVE:
            return approve(state, wave)
        case ControlAction.PAUSE:
            return pause(state)
        case ControlAction.RESUME:
            return resume(state)
        case ControlAction.ABORT:
            return abort(state)


def _refuse_aborted(state: RolloutState, what: str) -> None:
    if state.controls.aborted:
        raise EdgewrightError(
            f"an abort of the rollout was requested, so there is nothing to {what}",
            hint="its devices go back, and the release is rejected until its spec changes",
        )


def _refuse_ended(state: RolloutState, what: str) -> None:
    if state.key and state.phase in ENDED:
        hint = "to take a release back, revert the commit that brought it" if what == "abort" else ""
        raise EdgewrightError(f"the rollout has {state.phase} already: nothing to {what}", hint=hint)
