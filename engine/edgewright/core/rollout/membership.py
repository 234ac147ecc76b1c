"""Membership of a rollout: restarts for a new key, and devices that join, leave or change labels."""

from dataclasses import replace

from edgewright.core.fleet.routes import Proof
from edgewright.core.rollout.controls import dropped, is_paused_by_person
from edgewright.core.rollout.devices import is_current, same_release
from edgewright.core.rollout.goal import DeviceView
from edgewright.core.rollout.holds import follow_holds
from edgewright.core.rollout.run import HALTED, Run
from edgewright.core.rollout.state import (
    ENDED,
    IN_FLIGHT,
    PROVED,
    ControlAction,
    Controls,
    DeviceProgress,
    DeviceState,
    Phase,
    Release,
)
from edgewright.core.rollout.waves import NO_WAVE, wave_numbers
from edgewright_schemas.rollout import RolloutSpec
from edgewright_wire.canonical import digest_json

NOT_IN_ANY_WAVE = "NotInAnyWave"
JOINED = "Joined"
LABELS_CHANGED = "LabelsChanged"


def start(run: Run) -> None:
    """Begin a new key: sort devices into waves, keep what they verified.

    What people decided of the same release stays; of another one it is forgotten, with an event.
    """
    goal, before = run.goal, run.devices
    follow_holds(run)
    controls = _keep_controls(run) if same_release(run.state.release, goal.release) else _drop_controls(run)
    run.state = replace(
        run.state,
        release=goal.release,
        key=goal.key,
        phase=Phase.WAITING,
        wave=0,
        wave_since=None,
        started_at=run.now,
        ended_at=None,
        fleet_digest=goal.fleet_digest,
        controls=controls,
        waves=waves_digest(run.spec),
        reason="Starting",
        message="",
    )
    waves = _waves(run)
    run.devices = {}
    for device in run.views:
        progress = _carry_over(run, device, before.get(device, DeviceProgress()))
        run.devices[device] = _in_wave(progress, waves[device])
    run.emit("RolloutStarted", f"package {_short(goal.release)} starts on {_count(len(run.devices))}")


def _keep_controls(run: Run) -> Controls:
    """Keep what people decided of a release that starts over under changed specs."""
    state, kept = run.state, run.state.controls
    approved = kept.approved_before
    if approved and state.waves != waves_digest(run.spec):
        run.events.append(dropped(ControlAction.APPROVE, f"of waves to {approved} ends: the waves have changed"))
        approved = 0
    paused = is_paused_by_person(state)
    return replace(
        kept,
        approved_before=approved,
        paused=paused,
        by_person=paused,
        aborted=kept.aborted and state.phase not in HALTED,
    )


def _drop_controls(run: Run) -> Controls:
    """Forget what people asked of the release before."""
    state, old = run.state, run.state.controls
    if state.release is not None and state.phase not in ENDED:
        package = f"package {_short(state.release)}, which package {_short(run.goal.release)} replaces"
        if is_paused_by_person(state):
            run.events.append(dropped(ControlAction.PAUSE, f"ends with {package}"))
        begun = state.wave + (0 if state.wave_since is None else 1)
        if old.approved_before > begun:
            run.events.append(dropped(ControlAction.APPROVE, f"of waves to {old.approved_before} ends with {package}"))
    return Controls(taken=old.taken)


def waves_digest(spec: RolloutSpec) -> str:
    """Digest the waves that approvals number."""
    return digest_json(spec.model_dump(mode="json", by_alias=True, include={"waves"}))


def _carry_over(run: Run, device: str, old: DeviceProgress) -> DeviceProgress:
    """Turn what a device did for the last key into where it starts for this one."""
    release, view = run.release, run.views[device]
    current = is_current(old, view, release) and not _owes_proof(old, view)
    if old.state is DeviceState.RETURNING and old.release is not None:
        old = replace(old, state=DeviceState.OFFERED)
    if old.state in PROVED and not same_release(old.release, release):
        old = replace(old, verified=old.release)
    if current and old.state in PROVED:
        return old
    if current and old.state in IN_FLIGHT:
        return replace(old, reason="", message="")
    if current and old.state is DeviceState.DEFERRED and old.assigned_at is not None:
        return replace(old, reason="", message="")
    untouched = {DeviceState.PENDING, DeviceState.ROLLED_BACK, DeviceState.DEFERRED}
    if current and old.confirmed and old.state in untouched:
        return replace(old, state=DeviceState.VERIFIED, assigned_at=None, reason="", message="")
    if old.state in IN_FLIGHT and old.state is not DeviceState.RETURNING:
        return old
    return _pending(run, old)


def _owes_proof(old: DeviceProgress, view: DeviceView) -> bool:
    """Return whether a device's class requires more now than the device has proved."""
    return old.state is DeviceState.INSTALLED and view.proves is Proof.VERIFIED


def _pending(run: Run, old: DeviceProgress, reason: str = "") -> DeviceProgress:
    return replace(old, state=DeviceState.PENDING, since=run.now, assigned_at=None, reason=reason, message="")


def _in_wave(progress: DeviceProgress, wave: int) -> DeviceProgress:
    if wave == NO_WAVE and progress.state is DeviceState.PENDING:
        return replace(progress, wave=wave, reason=NOT_IN_ANY_WAVE)
    reason = "" if progress.reason == NOT_IN_ANY_WAVE else progress.reason
    if (progress.wave, progress.reason) == (wave, reason):
        return progress
    return replace(progress, wave=wave, reason=reason)


def _waves(run: Run) -> dict[str, int]:
    """Give each device its wave; one that is held back is in none, and makes no percentage larger."""
    labels = {device: view.labels for device, view in run.views.items() if view.held is None}
    return {**dict.fromkeys(run.views, NO_WAVE), **wave_numbers(run.goal.name, run.spec, labels)}


def follow_fleet(run: Run) -> None:
    """Take in devices that joined, drop those that left, and sort those not yet assigned into waves again; likewise
    those that are held back, or are no more.

    Whoever belongs to a wave that has begun goes with the current one. After success a newcomer starts the waves
    again, from its own.
    """
    changed = follow_holds(run)
    same = run.goal.fleet_digest == run.state.fleet_digest and run.devices.keys() == run.views.keys()
    if same and not changed:
        return
    run.state = replace(run.state, fleet_digest=run.goal.fleet_digest)
    forget_left(run)
    joined = [device for device in run.views if device not in run.devices]
    for device in joined:
        run.devices[device] = DeviceProgress(since=run.now, reason=JOINED)
    if joined:
        run.emit("DevicesJoined", f"{_count(len(joined))} joined the fleet")
    waves, again = _waves(run), []
    for device, progress in run.devices.items():
        if progress.state is not DeviceState.PENDING and device not in changed:
            continue
        newcomer = progress.state is DeviceState.PENDING and progress.reason in {JOINED, NOT_IN_ANY_WAVE}
        wave = waves[device]
        if run.state.phase not in HALTED | {Phase.SUCCEEDED} and wave != NO_WAVE:
            wave = max(wave, run.state.wave)
        run.devices[device] = _in_wave(progress, wave)
        if newcomer and wave != NO_WAVE:
            again.append(wave)
    _go_back(run, again)


def forget_left(run: Run) -> None:
    """Drop devices that are no longer in the fleet."""
    left = [device for device in run.devices if device not in run.views]
    for device in left:
        del run.devices[device]
    if left:
        run.emit("DevicesLeft", f"{_count(len(left))} left the fleet")


def follow_labels(run: Run) -> None:
    """Assign again to devices whose labels changed, where the release has a configuration made from them."""
    if run.state.phase in HALTED or run.release.config is None:
        return
    again = []
    for device, progress in run.devices.items():
        waits = progress.state is DeviceState.DEFERRED and progress.assigned_at is None
        if (
            run.views[device].held is not None
            or waits
            or progress.state in IN_FLIGHT
            or progress.state in {DeviceState.PENDING, DeviceState.ROLLED_BACK}
        ):
            continue
        if not same_release(progress.release, run.release):
            continue
        if is_current(progress, run.views[device], run.release):
            continue
        wave = progress.wave if run.state.phase is Phase.SUCCEEDED else max(progress.wave, run.state.wave)
        run.put(device, replace(_pending(run, progress, LABELS_CHANGED), wave=wave))
        again.append(wave)
    _go_back(run, again)


def settle(run: Run, progress: DeviceProgress) -> DeviceProgress:
    """Free a device that came to the end of something no longer wanted; its wave will take it in.

    What it verified meanwhile, before anybody rejected it, is what it returns to from now on.
    """
    verified = progress.verified
    if progress.state in PROVED and not same_release(progress.release, run.release):
        verified = progress.release
    return _in_wave(replace(_pending(run, progress), verified=verified), progress.wave)


def _go_back(run: Run, waves: list[int]) -> None:
    """After success, begin again with the first wave that has something to do.

    What failed since then was no reason to take the release back, and is none now.
    """
    if waves and run.state.phase is Phase.SUCCEEDED:
        failed = {device for device, progress in run.devices.items() if progress.state is DeviceState.FAILED}
        accepted = tuple(sorted(failed | set(run.state.controls.accepted)))
        run.state = replace(
            run.state,
            controls=replace(run.state.controls, accepted=accepted),
            phase=Phase.WAITING,
            wave=max(0, min(waves)),
            wave_since=None,
            ended_at=None,
            reason="Starting",
            message="devices joined or changed after the rollout had succeeded",
        )


def _short(release: Release) -> str:
    return release.package.removeprefix("sha256:")[:12]


def _count(number: int) -> str:
    return "1 device" if number == 1 else f"{number} devices"
