"""Waking the controller: many calls at once, one look at Git. ``hooks_routes`` rings, the loop waits."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MOST_NUMBERS = 1_000
"""Pull requests that are remembered one by one; beyond, all have to be looked at."""
QUIET_SECONDS = 0.2
MOST_SECONDS = 2.0
_LOOK_UP_SECONDS = 0.5
"""A signal handler runs in the thread that waits, and may close the bell just before it goes to sleep."""


class Hook(Protocol):
    """What a wake-up needs of a webhook: ``server.hooks.webhooks.Hook`` has it."""

    @property
    def wakes(self) -> bool:
        """Whether there is anything to look at."""
        ...

    @property
    def number(self) -> int | None:
        """Return the pull request's number, where the webhook names one."""
        ...


class Waker(Protocol):
    """Told of every authentic webhook that there is something to look at for, on the server's own thread."""

    def woken(self, hook: Hook) -> None:
        """Take note. Must return at once and never raise."""
        ...


@dataclass(frozen=True, slots=True)
class Wakeup:
    """What rang since the last time."""

    rings: int
    numbers: frozenset[int]
    """Pull requests that rang."""
    overflowed: bool = False
    """Whether more pull requests rang than ``numbers`` holds."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Decides when ringing has settled: after ``quiet`` seconds without a ring, or ``most`` after the first."""

    quiet: float = QUIET_SECONDS
    most: float = MOST_SECONDS

    def remaining(self, first: float, last: float, now: float) -> float:
        """Seconds to wait yet; none (0) once settled. Times are of one clock."""
        return max(0.0, min(last + self.quiet, first + self.most) - now)


class Debouncer:
    """A wake-up that any number of threads ring and one waits for. It is a ``Waker``.

    Rings are never lost: those that come while nobody waits are given to who waits next.
    """

    def __init__(
        self,
        *,
        quiet: float = QUIET_SECONDS,
        most: float = MOST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let ringing settle for ``quiet`` seconds, but not for more than ``most``, before it wakes anyone."""
        self._settling = Quiet(quiet, most)
        self._clock = clock
        self._changed = threading.Condition()
        self._rings = 0
        self._first = self._last = 0.0
        self._numbers: set[int] = set()
        self._overflowed = False
        self._closed = False

    def woken(self, hook: Hook) -> None:
        """Ring, for the pull request the hook hints at if it does; hooks without anything to look at do not ring."""
        if hook.wakes:
            self.ring(*(() if hook.number is None else (hook.number,)))

    def ring(self, *numbers: int) -> None:
        """Wake who waits; ``numbers`` are pull requests to look at."""
        with self._changed:
            now = self._clock()
            if not self._rings:
                self._first = now
            self._last = now
            self._rings += 1
            for number in numbers:
                if number in self._numbers or len(self._numbers) < MOST_NUMBERS:
                    self._numbers.add(number)
                else:
                    self._overflowed = True
            self._changed.notify_all()

    def wait(self, timeout: float | None) -> Wakeup | None:
        """Wait until it rings and settles, for at most ``timeout`` seconds until the first ring.

        None where nothing rang, and when the bell was closed. A ring that came in time is waited out, for at most
        ``most`` seconds more.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._rings and not self._closed:
                left = _LOOK_UP_SECONDS if until is None else until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, _LOOK_UP_SECONDS))
            while not self._closed:
                left = self._settling.remaining(self._first, self._last, self._clock())
                if left <= 0:
                    return self._take()
                self._changed.wait(min(left, _LOOK_UP_SECONDS))
            return None

    def close(self) -> None:
        """Let go of who waits, now and from now on. Signal handlers may call it, too."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self) -> Wakeup:
        rung = Wakeup(self._rings, frozenset(self._numbers), self._overflowed)
        self._rings, self._numbers, self._overflowed = 0, set(), False
        return rung
