"""Picks the devices that are due. Pure but for its memory of attempts; called by ``pool``.

Devices with work come first, then those never seen, then idle ones, each after its interval. A device that was not
reached is retried with backoff, sooner where an assignment waits for it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.pushed.ssh.targets import ssh_settings

MAX_SESSIONS = 500
"""Sessions at a time, whatever fleets say."""
_AT_ONCE = datetime.min.replace(tzinfo=UTC)
_PAUSE = timedelta(seconds=1)
"""Between two sessions with a device that has work."""
_BACKOFF_WITH_WORK = (timedelta(seconds=5), timedelta(minutes=1))
_BACKOFF_IDLE = (timedelta(seconds=30), timedelta(minutes=5))
"""After the first failure, and at most."""


@dataclass(frozen=True, slots=True)
class ScheduledDevice:
    """A device, as far as scheduling needs it."""

    device: str
    fleet: str
    at_once: int
    interval: timedelta
    has_work: bool
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class _Attempt:
    at: datetime
    failures: int
    jitter: float


def scheduled_device(route: Route, twin: Twin | None, now: datetime) -> ScheduledDevice:
    """Build the schedule's view of a device."""
    settings = ssh_settings(route)
    return ScheduledDevice(
        device=route.device.id,
        fleet=route.fleet,
        at_once=settings.at_once,
        interval=settings.check_interval,
        has_work=twin is not None and _has_work(twin, now),
        last_seen=twin.last_seen if twin is not None else None,
    )


def _has_work(twin: Twin, now: datetime) -> bool:
    if twin.job is not None:
        return True
    is_waiting = twin.assignment is not None and twin.taken < twin.assignment.version
    return is_waiting or twins.next_job(twin, now).job is not None


class SessionSchedule:
    """Remembers attempts, and picks the devices that are due.

    Args:
        jitter: Gives numbers in [0, 1): devices that failed together are not retried together.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._attempts: dict[str, _Attempt] = {}

    def record(self, device: str, now: datetime, *, failed: bool) -> None:
        """Record the end of a session."""
        before = self._attempts.get(device)
        failures = (before.failures if before is not None else 0) + 1 if failed else 0
        self._attempts[device] = _Attempt(now, failures, self._jitter())

    def retain(self, devices: Collection[str]) -> None:
        """Forget the attempts of all other devices."""
        self._attempts = {device: attempt for device, attempt in self._attempts.items() if device in devices}

    def reset_failures(self, devices: Iterable[str]) -> None:
        """Forget the failures of devices whose route has changed."""
        for device in devices:
            attempt = self._attempts.get(device)
            if attempt is not None and attempt.failures:
                del self._attempts[device]

    def next_attempt(self, scheduled: ScheduledDevice) -> datetime:
        """Return the time of a device's next session."""
        attempt = self._attempts.get(scheduled.device)
        if attempt is None:
            if scheduled.has_work or scheduled.last_seen is None:
                return _AT_ONCE
            return scheduled.last_seen + scheduled.interval
        if attempt.failures == 0:
            pause = _PAUSE if scheduled.has_work else scheduled.interval * (0.9 + 0.2 * attempt.jitter)
            return attempt.at + pause
        first, most = _BACKOFF_WITH_WORK if scheduled.has_work else _BACKOFF_IDLE
        wait = min(first * float(2 ** min(attempt.failures - 1, 16)), most)
        return attempt.at + wait * (0.8 + 0.4 * attempt.jitter)

    def due(
        self, devices: Iterable[ScheduledDevice], running: Mapping[str, str], now: datetime
    ) -> list[ScheduledDevice]:
        """Choose the devices to start a session with now, most urgent first.

        Args:
            devices: All devices.
            running: Devices with a session already, and their fleets.
            now: Aware UTC time.
        """
        in_use: dict[str, int] = {}
        for fleet in running.values():
            in_use[fleet] = in_use.get(fleet, 0) + 1
        free = MAX_SESSIONS - len(running)
        waiting = [(self.next_attempt(each), each) for each in devices if each.device not in running]
        due = sorted(
            ((_urgency(each), at, each.device, each) for at, each in waiting if at <= now),
            key=lambda item: item[:3],
        )
        chosen: list[ScheduledDevice] = []
        for *_, each in due:
            taken = in_use.get(each.fleet, 0)
            if len(chosen) < free and taken < each.at_once:
                in_use[each.fleet] = taken + 1
                chosen.append(each)
        return chosen

    def next_due(self, devices: Iterable[ScheduledDevice], running: Collection[str]) -> datetime | None:
        """Return the time of the next session with any device; None where none waits."""
        return min((self.next_attempt(each) for each in devices if each.device not in running), default=None)


def _urgency(scheduled: ScheduledDevice) -> int:
    if scheduled.has_work:
        return 0
    return 1 if scheduled.last_seen is None else 2
