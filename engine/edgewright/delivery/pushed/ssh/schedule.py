"""Whose turn it is. Pure but for its memory of attempts; called by ``attending``.

Devices with work come first, then those that were never seen, then those at rest, each after its interval. A device
that was not reached is tried again after a while that grows, sooner where an assignment waits for it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.pushed.ssh.targets import settings_of

AT_MOST = 500
"""Devices at a time, whatever fleets say."""
_SOON = datetime.min.replace(tzinfo=UTC)
_BREATH = timedelta(seconds=1)
"""Between two passes over a device that has work."""
_WAITS = (timedelta(seconds=5), timedelta(minutes=1))
_RESTS = (timedelta(seconds=30), timedelta(minutes=5))
"""After the first failure, and at most: with work, and without."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A device, as far as its turn goes."""

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
    luck: float


def subject_of(route: Route, twin: Twin | None, now: datetime) -> Subject:
    """See a device as the schedule does."""
    settings = settings_of(route)
    return Subject(
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
    waits = twin.assignment is not None and twin.taken < twin.assignment.version
    return waits or twins.next_job(twin, now).job is not None


class Schedule:
    """Remembers attempts, and says who is next.

    Args:
        luck: Gives numbers in [0, 1): devices that failed together are not tried again together.
    """

    def __init__(self, luck: Callable[[], float]) -> None:
        self._luck = luck
        self._attempts: dict[str, _Attempt] = {}

    def ended(self, device: str, now: datetime, *, failed: bool) -> None:
        """Note the end of a pass."""
        before = self._attempts.get(device)
        failures = (before.failures if before is not None else 0) + 1 if failed else 0
        self._attempts[device] = _Attempt(now, failures, self._luck())

    def keep(self, devices: Collection[str]) -> None:
        """Forget all others."""
        self._attempts = {device: attempt for device, attempt in self._attempts.items() if device in devices}

    def forgive(self, devices: Iterable[str]) -> None:
        """Forget failures of devices that are reached in another way now."""
        for device in devices:
            attempt = self._attempts.get(device)
            if attempt is not None and attempt.failures:
                del self._attempts[device]

    def turn(self, subject: Subject) -> datetime:
        """Say when a device's turn comes."""
        attempt = self._attempts.get(subject.device)
        if attempt is None:
            if subject.has_work or subject.last_seen is None:
                return _SOON
            return subject.last_seen + subject.interval
        if attempt.failures == 0:
            return attempt.at + (_BREATH if subject.has_work else subject.interval * (0.9 + 0.2 * attempt.luck))
        first, most = _WAITS if subject.has_work else _RESTS
        wait = min(first * float(2 ** min(attempt.failures - 1, 16)), most)
        return attempt.at + wait * (0.8 + 0.4 * attempt.luck)

    def due(self, subjects: Iterable[Subject], running: Mapping[str, str], now: datetime) -> list[Subject]:
        """Choose who is worked on now, most urgent first.

        Args:
            subjects: All devices.
            running: Those that are worked on already, and their fleets.
            now: Aware UTC time.
        """
        places: dict[str, int] = {}
        for fleet in running.values():
            places[fleet] = places.get(fleet, 0) + 1
        free = AT_MOST - len(running)
        waiting = [(self.turn(subject), subject) for subject in subjects if subject.device not in running]
        ripe = sorted(
            ((_urgency(subject), turn, subject.device, subject) for turn, subject in waiting if turn <= now),
            key=lambda each: each[:3],
        )
        chosen: list[Subject] = []
        for *_, subject in ripe:
            taken = places.get(subject.fleet, 0)
            if len(chosen) < free and taken < subject.at_once:
                places[subject.fleet] = taken + 1
                chosen.append(subject)
        return chosen

    def next_turn(self, subjects: Iterable[Subject], running: Collection[str]) -> datetime | None:
        """Say when somebody's turn comes next."""
        return min((self.turn(each) for each in subjects if each.device not in running), default=None)


def _urgency(subject: Subject) -> int:
    if subject.has_work:
        return 0
    return 1 if subject.last_seen is None else 2
