"""When something that failed may be tried again: doubling waits with jitter, one series for each thing. Used by
``reconciler`` and by the controller's loops.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edgewright.errors import EdgewrightError

FIRST = timedelta(seconds=2)
LONGEST = timedelta(minutes=5)


@dataclass
class _Series:
    failures: int
    until: datetime


@dataclass
class Backoff:
    """The waits under way, by what failed."""

    clock: Callable[[], datetime]
    jitter: Callable[[], float] = random.random
    """Gives numbers from 0 to 1."""
    first: timedelta = FIRST
    longest: timedelta = LONGEST
    _series: dict[str, _Series] = field(default_factory=dict)

    def failed(self, what: str, error: EdgewrightError | None = None) -> datetime:
        """Note a failure; says when to try again: 2 s, 4 s, 8 s … 5 min, each shortened by up to a half, but not
        before the moment the other side asked for.
        """
        series = self._series.setdefault(what, _Series(0, self.clock()))
        series.failures += 1
        wait = min(self.longest, self.first * 2 ** min(series.failures - 1, 20)) * (1 - self.jitter() / 2)
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            wait = max(wait, timedelta(seconds=asked))
        series.until = self.clock() + wait
        return series.until

    def succeeded(self, what: str) -> None:
        """End a series."""
        self._series.pop(what, None)

    def is_waiting(self, what: str) -> bool:
        """Whether it is too early to try again."""
        series = self._series.get(what)
        return series is not None and self.clock() < series.until

    def until(self, what: str) -> datetime | None:
        """When something may be tried again; None where it may be now."""
        return self._series[what].until if self.is_waiting(what) else None

    def next(self) -> datetime | None:
        """When the first wait that is under way ends."""
        now = self.clock()
        return min((series.until for series in self._series.values() if series.until > now), default=None)

    def clear(self) -> None:
        """Forget everything: what failed may have changed."""
        self._series.clear()
