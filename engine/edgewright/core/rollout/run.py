"""The working copy of one pass over a rollout: what the parts of ``rollout`` read, change and emit."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from edgewright.core.rollout.devices import (
    NEVER_SEEN,
    OFFLINE,
    ObservationContext,
    due,
    is_config_drift,
    is_current,
    is_superseded,
    same_release,
)
from edgewright.core.rollout.goal import Advance, DeviceView, Goal, RolloutEvent
from edgewright.core.rollout.state import IN_FLIGHT, PROVED, DeviceProgress, DeviceState, Phase, Release, RolloutState

HALTED = frozenset({Phase.RETURNING, Phase.FAILED, Phase.ABORTED})

_PROVEN = PROVED | {DeviceState.ROLLED_BACK}
_DEVICE_EVENTS: Mapping[DeviceState, tuple[str, str]] = {
    DeviceState.VERIFIED: ("DeviceVerified", "runs the release and has verified it"),
    DeviceState.INSTALLED: ("DeviceInstalled", "has the release in place, and can prove no more"),
    DeviceState.FAILED: ("DeviceFailed", "failed"),
    DeviceState.INELIGIBLE: ("DeviceIneligible", "cannot take the release"),
    DeviceState.DEFERRED: ("DeviceDeferred", "is offline; it catches up when it is back"),
    DeviceState.RETURNING: ("DeviceReturning", "goes back to its last verified release"),
    DeviceState.ROLLED_BACK: ("RolledBack", "runs its last verified release again"),
}
_OF_NOTHING: Mapping[DeviceState, str] = {
    DeviceState.RETURNING: "has no release to go back to; what it was given is taken away",
    DeviceState.ROLLED_BACK: "runs no release, as before",
}


class Run:
    """One pass: mutable while it lasts, nothing outlives it but what ``result`` returns."""

    def __init__(self, state: RolloutState, goal: Goal, views: Mapping[str, DeviceView], now: datetime) -> None:
        self.before = state
        self.state = state
        self.goal = goal
        self.spec = goal.spec
        self.views = views
        self.now = now
        self.devices: dict[str, DeviceProgress] = dict(state.devices)
        self.assigned: dict[str, Release | None] = {}
        self.events: list[RolloutEvent] = []
        self.wakes: list[datetime] = []

    @property
    def release(self) -> Release:
        """The release of the rollout that is under way."""
        return self.state.release or self.goal.release

    @property
    def at(self) -> ObservationContext:
        """Context in which devices are observed."""
        return ObservationContext(
            now=self.now,
            offline_after=self.spec.offline_after,
            deadline=self.spec.success.deadline,
            release=self.release.fingerprint,
            succeeded=self.state.phase is Phase.SUCCEEDED,
        )

    # ── changes ───────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, device: str, progress: DeviceProgress) -> None:
        """Replace a device's progress; a change of state that people care about becomes an event."""
        before = self.devices.get(device)
        if progress == before:
            return
        self.devices[device] = progress
        if (before is None or before.state is not progress.state) and progress.state in _DEVICE_EVENTS:
            reason, words = _DEVICE_EVENTS[progress.state]
            if progress.release is None:
                words = _OF_NOTHING.get(progress.state, words)
            if progress.state is DeviceState.DEFERRED and self.views[device].held is not None:
                words = "is left as it is"
            if before is not None and is_config_drift(before.reason) and progress.state in _PROVEN:
                reason = "Repaired"
            why = ": ".join(part for part in (progress.reason, progress.message) if part)
            self.events.append(RolloutEvent(reason, f"{device} {words}" + (f" ({why})" if why else ""), device))

    def enter(self, phase: Phase, reason: str, message: str, *, event: str = "") -> None:
        """Move the rollout; entering what it is in already says nothing again."""
        new = (self.state.phase, self.state.reason) != (phase, reason)
        self.state = replace(self.state, phase=phase, reason=reason, message=message)
        if new and event:
            self.emit(event, message)

    def emit(self, reason: str, message: str, device: str = "") -> None:
        """Note something that happened."""
        self.events.append(RolloutEvent(reason, message, device))

    def assign(self, device: str, release: Release | None, state: DeviceState, reason: str, message: str) -> None:
        """Assign a release, or nothing, to a device."""
        view, progress = self.views[device], self.devices[device]
        self.assigned[device] = release
        self.put(
            device,
            replace(
                progress,
                state=state,
                since=self.now,
                assigned_at=self.now,
                after=view.assignment,
                release=release,
                confirmed=False,
                labels_digest=view.labels_digest,
                reason=reason,
                message=message,
            ),
        )

    def send_back(self, device: str, reason: str, message: str) -> None:
        """Assign a device its last verified release again; an offline one will find it when it is back."""
        online = self.at.online(self.views[device])
        state = DeviceState.RETURNING if online else DeviceState.DEFERRED
        self.assign(device, self.fallback(device), state, reason, message)

    def offer(self, upto: int) -> None:
        """Assign the release to devices of the waves up to one, as far as maxUnavailable allows.

        Offline devices are deferred instead. One that is still changing to something no longer wanted is
        unavailable already, so to assign it anew takes nothing more from the budget.
        """
        at, release = self.at, self.release
        wanting = sorted(
            (progress.wave, device)
            for device, progress in self.devices.items()
            if 0 <= progress.wave <= upto and self.wants(device)
        )
        if not wanting:
            return
        budget = self.spec.max_unavailable
        busy: dict[str, int] = {}
        for device, progress in self.devices.items():
            if progress.state in IN_FLIGHT:
                busy[self._group(device)] = busy.get(self._group(device), 0) + 1
        for _, device in wanting:
            progress, view = self.devices[device], self.views[device]
            if progress.state is not DeviceState.PENDING:
                self.assign(device, release, DeviceState.OFFERED, "", "")
                continue
            if not at.online(view):
                reason = NEVER_SEEN if view.last_seen is None else OFFLINE
                self.put(device, replace(progress, state=DeviceState.DEFERRED, since=self.now, reason=reason))
                continue
            group = self._group(device)
            if budget is None or busy.get(group, 0) < budget.count:
                busy[group] = busy.get(group, 0) + 1
                self.assign(device, release, DeviceState.OFFERED, "", "")

    def fallback(self, device: str) -> Release | None:
        """Find the release a device returns to: its own, else one proven on its fleet before this one."""
        verified, proven = self.devices[device].verified, self.state.proven
        return verified or (None if same_release(proven, self.release) else proven)

    def must_return(self, device: str) -> bool:
        """Return whether a halt takes away what a device is assigned.

        What its fleet has proven before stays, even on a device that was offline then and has still to catch up.
        """
        assigned, proven = self.devices[device].release, self.state.proven
        if assigned is None or same_release(assigned, self.fallback(device)):
            return False
        return same_release(assigned, self.release) or not same_release(assigned, proven)

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────

    def members(self, wave: int) -> Iterator[tuple[str, DeviceProgress]]:
        """List the devices of one wave."""
        return ((device, progress) for device, progress in self.devices.items() if progress.wave == wave)

    def wants(self, device: str) -> bool:
        """Return whether a device still has to be assigned the release."""
        progress = self.devices[device]
        if progress.state is DeviceState.PENDING:
            return True
        return is_superseded(progress, self.views[device], self.release)

    def settled(self, device: str) -> bool:
        """Return whether a device has proved all it can of the release and its configuration."""
        progress = self.devices[device]
        if self.views[device].held is not None:
            return False
        return progress.state in PROVED and is_current(progress, self.views[device], self.release)

    def _group(self, device: str) -> str:
        budget = self.spec.max_unavailable
        return self.views[device].labels.get(budget.per, "") if budget is not None and budget.per else ""

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

    def result(self) -> Advance:
        """Close the pass. A state in which nothing changed is the same object."""
        if self.devices != self.before.devices:
            self.state = replace(self.state, devices=self.devices)
        state = self.before if self.state == self.before else self.state
        at = self.at
        for device, progress in self.devices.items():
            when = due(progress, self.views[device], at, wave=self.state.wave)
            if when is not None:
                self.wakes.append(when)
        return Advance(
            state=state,
            assign=tuple(self.assigned.items()),
            events=tuple(self.events),
            wake_at=min((when for when in self.wakes if when > self.now), default=None),
        )
