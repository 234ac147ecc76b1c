"""Spaces looks whose cost grows with the fleet. Used by ``reconciler`` while it has nothing to do."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SHARE = 0.01
_LONGEST_SECONDS = 15.0


class Pace:
    """Lets a look be taken again when it has taken no more than a hundredth of the time, or after 15 seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock()

    def due(self) -> bool:
        """Say whether it is time."""
        return self._clock() >= self._next

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Measure a look."""
        begun = self._clock()
        yield
        ended = self._clock()
        self._next = ended + min((ended - begun) / _SHARE, _LONGEST_SECONDS)
