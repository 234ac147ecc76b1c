"""One device in a rollout: its progress, as its newest report changes it. Called by ``machine`` and ``run``.

A report counts only when the device has taken up an assignment newer than the one it had when the release was
assigned: what it said before speaks of something else. A report that counts is believed however old it is; only
while nothing has come of an assignment does silence matter (deferred), and time (the deadline).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import PASSING
from edgewright.core.rollout.goal import DeviceView
from edgewright.core.rollout.state import IN_FLIGHT, DeviceProgress, DeviceState, Release
from edgewright_wire.messages import Phase as DevicePhase

VERIFICATION_LOST = "VerificationLost"
DEADLINE_EXCEEDED = "DeadlineExceeded"
RETURN_FAILED = "ReturnFailed"
OFFLINE = "Offline"
CONFIG_DRIFTED = "ConfigDrifted"
NEVER_SEEN = "NeverSeen"
_STORED_AS = frozenset({CONFIG_DRIFTED, "Drifted"})
"""Reasons of config drift in stored state; ``Drifted`` is what earlier versions wrote."""

_ON_THE_WAY: Mapping[DevicePhase, DeviceState] = {
    DevicePhase.IDLE: DeviceState.OFFERED,
    DevicePhase.FETCHING: DeviceState.FETCHING,
    DevicePhase.STAGED: DeviceState.STAGED,
    DevicePhase.PROBING: DeviceState.PROBING,
    DevicePhase.VERIFIED: DeviceState.PROBING,
    DevicePhase.INSTALLED: DeviceState.PROBING,
}
"""A device that claims to be verified without being active and verified still has to prove it; one whose class proves
more than installation, too."""
_AT_WORK = frozenset({DevicePhase.FETCHING, DevicePhase.STAGED, DevicePhase.PROBING})


def is_config_drift(reason: str) -> bool:
    """Return whether a stored reason is config drift."""
    return reason in _STORED_AS


@dataclass(frozen=True, slots=True)
class ObservationContext:
    """Context in which every device of one pass is observed."""

    now: datetime
    offline_after: timedelta
    deadline: timedelta
    release: str
    """Fingerprint of the rollout's release."""
    succeeded: bool
    """Whether it is proven on the fleet: a device that loses it then fetches it again."""

    def online(self, view: DeviceView) -> bool:
        """Return whether a device has reported lately, and takes part."""
        return view.held is None and view.last_seen is not None and self.now < view.last_seen + self.offline_after


def same_release(one: Release | None, other: Release | None) -> bool:
    """Compare by fingerprint; two absent releases are the same."""
    return (one.fingerprint if one else None) == (other.fingerprint if other else None)


def is_superseded(progress: DeviceProgress, view: DeviceView, release: Release) -> bool:
    """Return whether a device is still changing to something that is no longer wanted.

    A device this rollout sent back is not: it is not to be tried again.
    """
    changing = progress.state in IN_FLIGHT and progress.state is not DeviceState.RETURNING
    return changing and not is_current(progress, view, release)


def is_current(progress: DeviceProgress, view: DeviceView, release: Release) -> bool:
    """Return whether a device is assigned this release, with the configuration its labels ask for."""
    if progress.release is None or progress.release.fingerprint != release.fingerprint:
        return False
    return release.config is None or progress.labels_digest == view.labels_digest


def observe(progress: DeviceProgress, view: DeviceView, at: ObservationContext) -> DeviceProgress:
    """Update one device's progress from its report and the time.

    Returns:
        The same object when nothing changed.
    """
    if _waits(progress, view):
        put_off = progress.state in IN_FLIGHT
        return _move(progress, DeviceState.DEFERRED, at, view.reason, view.message) if put_off else progress
    return _observe(progress, view, at)


def _observe(progress: DeviceProgress, view: DeviceView, at: ObservationContext) -> DeviceProgress:
    match progress.state:
        case DeviceState.PENDING | DeviceState.ROLLED_BACK:
            return progress
        case DeviceState.DEFERRED:
            return _deferred(progress, view, at)
        case DeviceState.VERIFIED | DeviceState.INSTALLED:
            return _verified(progress, view, at)
        case DeviceState.FAILED | DeviceState.INELIGIBLE:
            return _failed(progress, view, at)
        case DeviceState.RETURNING:
            return _returning(progress, view, at)
        case DeviceState.OFFERED | DeviceState.FETCHING | DeviceState.STAGED | DeviceState.PROBING:
            return _in_flight(progress, view, at)
        case _ as never:
            assert_never(never)


def fail_return(progress: DeviceProgress, message: str, now: datetime) -> DeviceProgress:
    """Note that a device cannot be given its last verified release again."""
    return replace(progress, state=DeviceState.FAILED, since=now, reason=RETURN_FAILED, message=message)


def _move(
    progress: DeviceProgress, state: DeviceState, at: ObservationContext, reason: str = "", message: str = ""
) -> DeviceProgress:
    if progress.state is state:
        return progress
    return replace(progress, state=state, since=at.now, reason=reason, message=message)


def _back(progress: DeviceProgress, at: ObservationContext) -> DeviceProgress:
    settled = replace(progress, verified=progress.release, confirmed=True)
    return _move(settled, DeviceState.ROLLED_BACK, at, progress.reason, progress.message)


def _counts(progress: DeviceProgress, view: DeviceView) -> bool:
    return view.taken > progress.after


def _speaks_of_it(progress: DeviceProgress, view: DeviceView) -> bool:
    return _counts(progress, view) and progress.release is not None and view.release == progress.release.fingerprint


def _proven(progress: DeviceProgress, view: DeviceView) -> DeviceState | None:
    """Return what a device has proved of its assignment, where its class has to prove no more."""
    if not _speaks_of_it(progress, view) or view.active_release != view.release:
        return None
    if view.phase is DevicePhase.VERIFIED and view.verified:
        return DeviceState.VERIFIED
    is_enough = view.phase is DevicePhase.INSTALLED and view.proves is Proof.INSTALLED
    return DeviceState.INSTALLED if is_enough else None


def _returned(progress: DeviceProgress, view: DeviceView) -> bool:
    if progress.release is None:
        return _counts(progress, view) and view.active_release is None
    return _proven(progress, view) is not None


def _said_failed(progress: DeviceProgress, view: DeviceView) -> bool:
    return _speaks_of_it(progress, view) and view.phase is DevicePhase.FAILED


def _waits(progress: DeviceProgress, view: DeviceView) -> bool:
    """Return whether a device failed at it for a reason that passes by itself, such as a clock that is not set yet."""
    return _said_failed(progress, view) and view.reason in PASSING


def _in_flight(progress: DeviceProgress, view: DeviceView, at: ObservationContext) -> DeviceProgress:
    if (shown := _proven(progress, view)) is not None:
        return _move(replace(progress, confirmed=True), shown, at)
    if _said_failed(progress, view):
        state = DeviceState.INELIGIBLE if view.reason == "Incompatible" else DeviceState.FAILED
        return _move(progress, state, at, view.reason or "Failed", view.message)
    if not at.online(view):
        return _move(progress, DeviceState.DEFERRED, at, OFFLINE)
    if _overdue(progress, at):
        message = f"not verified within its deadline; it was last seen {progress.state}"
        return _move(progress, DeviceState.FAILED, at, DEADLINE_EXCEEDED, message)
    if _speaks_of_it(progress, view) and view.phase is not None:
        # What was assigned again after config drift keeps that reason until it is there.
        kept = CONFIG_DRIFTED if is_config_drift(progress.reason) else ""
        return _move(progress, _ON_THE_WAY[view.phase], at, kept)
    return progress


def _deferred(progress: DeviceProgress, view: DeviceView, at: ObservationContext) -> DeviceProgress:
    if progress.assigned_at is None:
        return _move(progress, DeviceState.PENDING, at) if at.online(view) else progress
    if progress.release is None or progress.release.fingerprint != at.release:
        if _returned(progress, view):
            return _back(progress, at)
        if at.online(view):
            back = replace(progress, assigned_at=at.now)
            return _move(back, DeviceState.RETURNING, at, progress.reason, progress.message)
        return progress
    if _proven(progress, view) or _said_failed(progress, view) or at.online(view):
        return _in_flight(_move(replace(progress, assigned_at=at.now), DeviceState.OFFERED, at), view, at)
    return progress


def _verified(progress: DeviceProgress, view: DeviceView, at: ObservationContext) -> DeviceProgress:
    if not _counts(progress, view) or progress.release is None:
        return progress
    active = view.active_release == progress.release.fingerprint
    at_work = view.phase in _AT_WORK
    if (shown := _proven(progress, view)) is not None:
        # An installed device that later proves more, or whose class has been asked for less.
        return progress if shown is progress.state else replace(progress, state=shown)
    enough = view.verified or at_work or view.proves is Proof.INSTALLED
    if active and view.phase is not DevicePhase.FAILED and enough:
        return progress
    if active and view.phase is DevicePhase.FAILED and view.release != progress.release.fingerprint:
        return progress
    if at.succeeded and at_work and view.phase is not None:
        again = replace(progress, assigned_at=at.now, confirmed=False)
        return _move(again, _ON_THE_WAY[view.phase], at)
    said = f"{view.reason}: {view.message}".strip(": ")
    message = said or f"it was verified, and now runs {view.active_release or 'nothing'}"
    return _move(replace(progress, confirmed=False), DeviceState.FAILED, at, VERIFICATION_LOST, message)


def _failed(progress: DeviceProgress, view: DeviceView, at: ObservationContext) -> DeviceProgress:
    going_back = progress.release is None or progress.release.fingerprint != at.release
    if going_back and progress.reason == RETURN_FAILED and _returned(progress, view):
        return _back(progress, at)
    if not going_back and (shown := _proven(progress, view)) is not None:
        return _move(replace(progress, confirmed=True), shown, at)
    return progress


def _returning(progress: DeviceProgress, view: DeviceView, at: ObservationContext) -> DeviceProgress:
    if _returned(progress, view):
        return _back(progress, at)
    if _said_failed(progress, view):
        message = f"{view.reason}: {view.message}".strip(": ")
        return _move(progress, DeviceState.FAILED, at, RETURN_FAILED, message)
    if not at.online(view):
        return _move(progress, DeviceState.DEFERRED, at, progress.reason or OFFLINE, progress.message)
    if _overdue(progress, at):
        message = "does not run its last verified release again within its deadline"
        return _move(progress, DeviceState.FAILED, at, RETURN_FAILED, message)
    return progress


def _overdue(progress: DeviceProgress, at: ObservationContext) -> bool:
    return progress.assigned_at is not None and at.now >= progress.assigned_at + at.deadline


def due(progress: DeviceProgress, view: DeviceView, at: ObservationContext, *, wave: int) -> datetime | None:
    """Return when time alone will change a device that is under way, or waits its turn in a current wave."""
    if view.last_seen is None or view.held is not None:
        return None
    silent = view.last_seen + at.offline_after
    if progress.state in IN_FLIGHT and progress.assigned_at is not None:
        return min(silent, progress.assigned_at + at.deadline)
    return silent if progress.state is DeviceState.PENDING and 0 <= progress.wave <= wave else None
