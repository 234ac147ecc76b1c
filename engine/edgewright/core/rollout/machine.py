"""The rollout as a pure state machine: what is, what is wanted and the time go in, decisions come out.

Called by ``reconcile.rollouts`` with every pass. ``advance`` may be repeated with the same input at any time: it then
decides nothing more.

The rules
    - A wave begins inside the window, with its approval, and after the wave before it has passed.
    - It passes when none of its devices is pending or in flight, at least one is verified, and the verified among
      the verified and the failed are at least ``success.minRatio``. Offline and ineligible devices do not count.
    - A wave whose devices are all offline waits for one of them for ``success.deadline``. Then the rollout pauses
      (NoEvidence), except in the last wave: there the waves before it are the evidence.
    - A wave by labels that no device of the fleet has waits; one whose devices were all taken earlier is passed over.
    - The rollout halts as soon as a wave can no longer reach ``minRatio``, a device gate fails, or a device that
      was verified is no longer. Under ``onFailure: rollback`` its release is rejected and every device that got
      it is assigned its last verified release, whatever the window, the pause or maxUnavailable say.
    - A device that is held back keeps what it has, is in no wave, and gives no verdict.
    - After success, devices that were offline are assigned the release all at once, since they are unavailable
      anyway; one that fails is sent back alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from edgewright.core.rollout.controls import abort, approve, pause, resume
from edgewright.core.rollout.devices import NEVER_SEEN, OFFLINE, is_superseded, observe, same_release
from edgewright.core.rollout.failures import RolloutFailure, find_failure, find_failure_at_end, unmeasurable
from edgewright.core.rollout.goal import Advance, DeviceView, Goal, RolloutEvent, view_device
from edgewright.core.rollout.holds import observe_held
from edgewright.core.rollout.membership import follow_fleet, follow_labels, forget_left, settle, start, waves_digest
from edgewright.core.rollout.moments import minute_text
from edgewright.core.rollout.run import HALTED, Run
from edgewright.core.rollout.state import (
    ENDED,
    IN_FLIGHT,
    PROVED,
    DeviceProgress,
    DeviceState,
    Phase,
    Rejection,
    RolloutState,
)
from edgewright.core.rollout.waves import NO_WAVE, plan_waves
from edgewright.core.rollout.windows import in_window

_REJECTED = "ReleaseRejected"

__all__ = [
    "Advance",
    "DeviceView",
    "Goal",
    "RolloutEvent",
    "abort",
    "advance",
    "approve",
    "pause",
    "plan_waves",
    "resume",
    "view_device",
]


def advance(state: RolloutState, goal: Goal, devices: Mapping[str, DeviceView], now: datetime) -> Advance:
    """Decide what a rollout does next.

    Args:
        state: What ``advance`` returned last; ``RolloutState()`` before the first time.
        goal: What is wanted.
        devices: The whole fleet, by device id.
        now: Aware.

    Returns:
        The next state, with the assignments that must be stored together with it.
    """
    state = _with_present_keys(state, goal)
    if not _must_abort_first(state, goal) or state.release is None:
        return _advance(state, goal, devices, now)
    first = _advance(state, replace(goal, release=state.release, key=state.key), devices, now)
    then = _advance(first.state, goal, devices, now)
    assign = tuple({**dict(first.assign), **dict(then.assign)}.items())
    return replace(then, assign=assign, events=(*first.events, *then.events))


def _advance(state: RolloutState, goal: Goal, devices: Mapping[str, DeviceView], now: datetime) -> Advance:
    run = Run(state, goal, devices, now)
    if any(rejection.key == goal.key for rejection in state.rejected) and state.key != goal.key:
        _refuse(run)
        return run.result()
    if state.key != goal.key:
        start(run)
    elif state.reason == _REJECTED:
        _take_up_again(run)
    if not run.state.waves:
        run.state = replace(run.state, waves=waves_digest(run.spec))
    follow_fleet(run)
    follow_labels(run)
    _observe(run)
    if run.state.phase in HALTED:
        _finish_return(run)
    else:
        _go_on(run)
    return run.result()


def _with_present_keys(state: RolloutState, goal: Goal) -> RolloutState:
    """Name by its present key what an earlier version stored by another one."""
    if state.key not in goal.earlier_keys and all(each.key not in goal.earlier_keys for each in state.rejected):
        return state
    rejected = tuple(replace(r, key=goal.key) if r.key in goal.earlier_keys else r for r in state.rejected)
    return replace(state, key=goal.key if state.key in goal.earlier_keys else state.key, rejected=rejected)


def _must_abort_first(state: RolloutState, goal: Goal) -> bool:
    """Return whether a person aborted what another goal would replace before anything came of it."""
    if not state.controls.aborted or state.phase in HALTED | ENDED or state.key == goal.key:
        return False
    refused = any(rejection.key == goal.key for rejection in state.rejected)
    return refused or not same_release(state.release, goal.release)


def _refuse(run: Run) -> None:
    """Leave the rollout before it as it is; only what was on its way back still gets there."""
    message = f"release {run.goal.release.fingerprint} was rejected; it is not tried again until its spec changes"
    forget_left(run)
    _observe(run)
    run.enter(run.state.phase, _REJECTED, message, event=_REJECTED)
    _finish_return(run)


def _take_up_again(run: Run) -> None:
    """Report the rollout's phase again, after another goal was refused."""
    rejection = next((rejection for rejection in run.state.rejected if rejection.key == run.state.key), None)
    reason = rejection.reason if rejection is not None else run.state.phase.value.capitalize()
    run.state = replace(run.state, reason=reason, message="")


def _observe(run: Run) -> None:
    at, release = run.at, run.release
    halted = run.state.phase in HALTED
    for device, progress in tuple(run.devices.items()):
        view = run.views[device]
        seen = observe_held(progress, view.held, at) if view.held else observe(progress, view, at)
        if seen is progress:
            continue
        if not halted and seen.state not in IN_FLIGHT and is_superseded(progress, view, release):
            seen = settle(run, seen)
        run.put(device, seen)


# ── going forward ─────────────────────────────────────────────────────────────────────────────────────────────


def _go_on(run: Run) -> None:
    if run.state.controls.aborted:
        _halt(run, RolloutFailure("Aborted", "aborted by a person"))
        return
    if run.state.controls.paused or run.spec.suspend:
        _hold(run)
        return
    if run.state.phase is Phase.SUCCEEDED:
        _after_success(run)
        return
    while _wave_passed(run):
        if run.state.wave + 1 == len(run.spec.waves):
            _finish(run)
            return
        run.state = replace(
            run.state, wave=run.state.wave + 1, wave_since=None, phase=Phase.WAITING, reason="", message=""
        )


def _hold(run: Run) -> None:
    """Assign nothing; what is in flight comes to its end."""
    if run.state.phase is Phase.SUCCEEDED:
        _send_back_failed(run)
    elif not run.state.controls.paused:
        run.enter(Phase.PAUSED, "Suspended", "suspended by the spec", event="RolloutSuspended")
    elif run.state.phase is not Phase.PAUSED or run.state.reason == "Suspended":
        run.enter(Phase.PAUSED, "Paused", "paused by a person", event="RolloutPaused")


def _wave_passed(run: Run) -> bool:
    """Work on the current wave; say whether the next one may begin."""
    if _failed(run):
        return False
    soaking = run.state.phase is Phase.SOAKING
    begun = soaking or _begun(run)
    run.offer(run.state.wave if begun else run.state.wave - 1)
    if _failed(run) or not begun:
        return False
    return (soaking or _come_to_its_end(run)) and _soaked(run)


def _failed(run: Run) -> bool:
    failure = find_failure(run)
    if failure is not None:
        _halt(run, failure)
    return failure is not None


def _begun(run: Run) -> bool:
    """Begin the current wave, unless it has begun, has nothing to do, or waits for something."""
    number, wave = run.state.wave, run.spec.waves[run.state.wave]
    if run.state.wave_since is not None:
        return True
    empty = not any(True for _ in run.members(number))
    if empty and (not run.views or (wave.select is not None and not _anyone_matches(run))):
        what = f"no device of the fleet is in {_name(run)}; give devices its labels or change the spec"
        run.enter(Phase.WAITING, "NoDevices", what, event="RolloutWaiting")
        return False
    if not any(run.wants(device) for device, _ in run.members(number)):
        return True
    if _must_wait(run):
        return False
    run.state = replace(run.state, wave_since=run.now)
    run.enter(Phase.ROLLING, "Rolling", f"{_name(run)} is under way")
    run.emit("WaveStarted", f"{_name(run)} begins")
    return True


def _must_wait(run: Run) -> bool:
    classless = unmeasurable(run)
    if classless:
        run.enter(Phase.WAITING, "GateInconclusive", classless, event="RolloutWaiting")
        return True
    number, approval = run.state.wave + 1, run.spec.approval
    if approval is not None and approval.before_wave <= number and run.state.controls.approved_before < number:
        message = f"{_name(run)} waits for approval"
        run.enter(Phase.AWAITING_APPROVAL, "AwaitingApproval", message, event="AwaitingApproval")
        return True
    if run.spec.window is None:
        return False
    opening = in_window(run.spec.window, run.now)
    if not opening.open:
        until = f"until {minute_text(opening.until)}" if opening.until else "for a window that never opens"
        run.wakes += [opening.until] if opening.until else []
        run.enter(Phase.WAITING, "OutsideWindow", f"{_name(run)} waits {until}", event="RolloutWaiting")
    return not opening.open


def _anyone_matches(run: Run) -> bool:
    select = run.spec.waves[run.state.wave].select
    return select is not None and any(select.matches(dict(view.labels)) for view in run.views.values())


def _come_to_its_end(run: Run) -> bool:
    """Return whether the current wave's devices have all ended in a state that proves something."""
    states = [progress.state for _, progress in run.members(run.state.wave)]
    if any(state is DeviceState.PENDING or state in IN_FLIGHT for state in states):
        run.enter(Phase.ROLLING, "Rolling", f"{_name(run)} is under way")
        return False
    if not states or not PROVED.isdisjoint(states):
        return True
    if DeviceState.DEFERRED in states:
        return _anyone_answers(run)
    accepted = set(run.state.controls.accepted)
    if any(device in accepted for device, _ in run.members(run.state.wave)):
        _pause(run, "NoEvidence", f"no device of {_name(run)} is verified; change the spec or abort")
    else:
        _halt(run, RolloutFailure("NoEligibleDevice", f"no device of {_name(run)} could take the release"))
    return False


def _anyone_answers(run: Run) -> bool:
    since = run.state.wave_since or run.now
    until = since + run.spec.success.deadline
    if run.now < until:
        run.wakes.append(until)
        seen = any(run.views[device].last_seen is not None for device, _ in run.members(run.state.wave))
        found = "is offline; start one" if seen else "has yet to report for the first time; start one's agent or client"
        message = f"every device of {_name(run)} {found}, it waits until {minute_text(until)}"
        run.state = replace(run.state, wave_since=since)
        run.enter(Phase.WAITING, "NoDeviceAnswered", message, event="RolloutWaiting")
        return False
    last = run.state.wave + 1 == len(run.spec.waves)
    if last and any(progress.state in PROVED for progress in run.devices.values()):
        return True
    _pause(run, "NoEvidence", f"every device of {_name(run)} has been offline; resume to wait again")
    return False


def _soaked(run: Run) -> bool:
    """Wait after the wave; what has been verified for long needs no new wait."""
    soak = run.spec.waves[run.state.wave].soak
    if run.state.phase is not Phase.SOAKING:
        proved = [progress for _, progress in run.members(run.state.wave) if progress.state in PROVED]
        times = [progress.since for progress in proved if progress.since is not None]
        if run.state.wave_since is not None:
            run.emit("WavePassed", f"{_name(run)} has passed: {_shown(proved)}")
        run.state = replace(run.state, wave_since=max(times, default=run.now))
    until = (run.state.wave_since or run.now) + soak
    if soak > timedelta(0) and run.now < until:
        run.wakes.append(until)
        run.enter(Phase.SOAKING, "Soaking", f"{_name(run)} has passed and soaks until {minute_text(until)}")
        return False
    return True


def _finish(run: Run) -> None:
    failure = find_failure_at_end(run)
    if failure is not None:
        _halt(run, failure)
        return
    run.state = replace(run.state, ended_at=run.now, wave_since=None, proven=run.release)
    left_out = sum(progress.wave == NO_WAVE for progress in run.devices.values())
    message = "every wave has passed" + (
        f"; {left_out} device{'s are' if left_out > 1 else ' is'} in no wave" if left_out else ""
    )
    run.enter(Phase.SUCCEEDED, "Succeeded", message, event="RolloutSucceeded")
    _after_success(run)


def _after_success(run: Run) -> None:
    """Name the release the one to return to, let the others catch up, send back those that fail."""
    for device, progress in tuple(run.devices.items()):
        if run.settled(device) and not same_release(progress.verified, run.release):
            run.put(device, replace(progress, verified=run.release))
    run.offer(len(run.spec.waves) - 1)
    for device, progress in tuple(run.devices.items()):
        waits = progress.state is DeviceState.DEFERRED and progress.assigned_at is None
        if waits and progress.wave != NO_WAVE:
            reason = NEVER_SEEN if run.views[device].last_seen is None else OFFLINE
            run.assign(device, run.release, DeviceState.DEFERRED, reason, "")
    _send_back_failed(run)


def _send_back_failed(run: Run) -> None:
    for device, progress in tuple(run.devices.items()):
        failed = progress.state is DeviceState.FAILED and same_release(progress.release, run.release)
        if failed and run.views[device].held is None and not same_release(run.fallback(device), run.release):
            run.send_back(device, progress.reason, progress.message)


# ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────


def _halt(run: Run, failure: RolloutFailure) -> None:
    if run.spec.on_failure == "pause" and failure.reason != "Aborted":
        _pause(run, failure.reason, failure.message)
        return
    if all(rejection.key != run.state.key for rejection in run.state.rejected):
        rejection = Rejection(
            key=run.state.key,
            release=run.release.fingerprint,
            package=run.release.package,
            at=run.now,
            reason=failure.reason,
            device=failure.device,
            message=failure.message,
        )
        run.state = replace(run.state, rejected=(*run.state.rejected, rejection))
    run.emit("RolloutHalted", f"{failure.reason}: {failure.message}", failure.device)
    run.enter(Phase.RETURNING, failure.reason, failure.message)
    for device, progress in tuple(run.devices.items()):
        if run.must_return(device):
            run.send_back(device, progress.reason or failure.reason, progress.message)
    _finish_return(run)


def _finish_return(run: Run) -> None:
    """End once no device that can be reached is still on its way back."""
    if run.state.phase is not Phase.RETURNING:
        return
    if any(progress.state is DeviceState.RETURNING for progress in run.devices.values()):
        return
    phase = Phase.ABORTED if run.state.controls.aborted else Phase.FAILED
    run.state = replace(run.state, ended_at=run.now)
    event = "RolloutAborted" if phase is Phase.ABORTED else "RolloutFailed"
    run.enter(phase, run.state.reason, run.state.message, event=event)


def _pause(run: Run, reason: str, message: str) -> None:
    run.state = replace(run.state, controls=replace(run.state.controls, paused=True))
    run.enter(Phase.PAUSED, reason, message, event="RolloutPaused")


def _shown(proved: Sequence[DeviceProgress]) -> str:
    """Count what devices have shown: ``3 verified, 2 installed``."""
    installed = sum(progress.state is DeviceState.INSTALLED for progress in proved)
    return f"{len(proved) - installed} verified" + (f", {installed} installed" if installed else "")


def _name(run: Run) -> str:
    return f"wave {run.state.wave + 1} of {len(run.spec.waves)}"
