"""Backoff after failures, and throttling of polls whose cost grows with the fleet.

Used by ``reconciler``, ``notifications`` and the controller's loops.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edgewright.errors import EdgewrightError

FIRST = timedelta(seconds=2)
LONGEST = timedelta(minutes=5)
_SHARE = 0.01
_LONGEST_REST_SECONDS = 15.0


@dataclass
class _Series:
    failures: int
    since: datetime
    until: datetime


@dataclass
class Backoff:
    """Exponential backoff with jitter, one series for each thing that fails."""

    clock: Callable[[], datetime]
    jitter: Callable[[], float] = random.random
    """Gives numbers from 0 to 1."""
    first: timedelta = FIRST
    longest: timedelta = LONGEST
    _series: dict[str, _Series] = field(default_factory=dict)

    def failed(self, what: str, error: EdgewrightError | None = None) -> datetime:
        """Record a failure, and return the time of the next attempt.

        Waits are 2 s, 4 s, 8 s … 5 min, each shortened by up to a half, but never shorter than a Retry-After.
        """
        series = self._series.setdefault(what, _Series(0, self.clock(), self.clock()))
        series.failures += 1
        wait = min(self.longest, self.first * 2 ** min(series.failures - 1, 20)) * (1 - self.jitter() / 2)
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            wait = max(wait, timedelta(seconds=asked))
        series.since = self.clock()
        series.until = series.since + wait
        return series.until

    def succeeded(self, what: str) -> None:
        """End a series."""
        self._series.pop(what, None)

    def is_waiting(self, what: str) -> bool:
        """Check whether a wait is under way."""
        series = self._series.get(what)
        # Before it began: the clock was set back, and nobody waits until it has caught up.
        return series is not None and series.since <= self.clock() < series.until

    def until(self, what: str) -> datetime | None:
        """Return the end of the wait under way; None where there is none."""
        return self._series[what].until if self.is_waiting(what) else None

    def next(self) -> datetime | None:
        """Return the end of the wait that ends first."""
        now = self.clock()
        return min(
            (series.until for series in self._series.values() if series.since <= now < series.until), default=None
        )

    def clear(self) -> None:
        """Reset all series."""
        self._series.clear()


class Deadline:
    """A time to wait for: by the clock, but never longer than it was away when the wait began.

    Whoever sets the clock back holds nobody up.
    """

    def __init__(
        self, until: datetime, clock: Callable[[], datetime], seconds: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin to wait.

        Args:
            until: Aware UTC time.
            clock: Gives such times, and may jump.
            seconds: Counts on, and never jumps.
        """
        self._until = until
        self._clock = clock
        self._seconds = seconds
        self._end = seconds() + (until - clock()).total_seconds()

    def left(self) -> float:
        """Return the seconds that are left; 0 or less once it is over."""
        return min((self._until - self._clock()).total_seconds(), self._end - self._seconds())


class PollThrottle:
    """Keeps polling to a hundredth of the time, with at most 15 seconds between two polls."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock()

    def due(self) -> bool:
        """Check whether the next poll may start."""
        return self._clock() >= self._next

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Measure a poll, and postpone the next one accordingly."""
        begun = self._clock()
        yield
        ended = self._clock()
        self._next = ended + min((ended - begun) / _SHARE, _LONGEST_REST_SECONDS)
