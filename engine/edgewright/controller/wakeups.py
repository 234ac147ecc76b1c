"""Wake-ups of the controller, debounced: many webhooks at once cause one fetch.

``server.hooks.routes`` notifies, the supervisor's loop waits.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MOST_NUMBERS = 1_000
"""Pull requests remembered one by one; beyond that, all open ones are checked."""
QUIET_SECONDS = 0.2
MOST_SECONDS = 2.0
_RECHECK_SECONDS = 0.5
"""A signal handler runs in the waiting thread and may close the debouncer just before it goes to sleep."""


class Hook(Protocol):
    """The part of a webhook that a wake-up needs; ``server.hooks.webhooks.Hook`` has it."""

    @property
    def wakes(self) -> bool:
        """Return whether the webhook may have changed anything."""
        ...

    @property
    def number(self) -> int | None:
        """Return the pull request's number, where the webhook names one."""
        ...


class WakeupSink(Protocol):
    """Receiver of every authentic webhook, on the server's own thread."""

    def notify(self, hook: Hook) -> None:
        """Record the webhook. Must return at once and never raise."""
        ...


@dataclass(frozen=True, slots=True)
class Wakeup:
    """The notifications since the last wake-up."""

    count: int
    numbers: frozenset[int]
    """Pull requests they named."""
    overflowed: bool = False
    """Whether they named more pull requests than ``numbers`` holds."""


@dataclass(frozen=True, slots=True)
class DebounceWindow:
    """The debounce rule: settled after ``quiet`` seconds without a notification, or ``most`` after the first."""

    quiet: float = QUIET_SECONDS
    most: float = MOST_SECONDS

    def remaining(self, first: float, last: float, now: float) -> float:
        """Return the seconds left to wait; 0 once settled. All times are of one clock."""
        return max(0.0, min(last + self.quiet, first + self.most) - now)


class Debouncer:
    """Collects notifications from any number of threads for one waiting thread; implements ``WakeupSink``.

    No notification is lost: those that arrive while nobody waits are returned by the next ``wait``.
    """

    def __init__(
        self,
        *,
        quiet: float = QUIET_SECONDS,
        most: float = MOST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Debounce for ``quiet`` seconds, but for at most ``most`` after the first notification."""
        self._window = DebounceWindow(quiet, most)
        self._clock = clock
        self._changed = threading.Condition()
        self._count = 0
        self._first = self._last = 0.0
        self._numbers: set[int] = set()
        self._overflowed = False
        self._closed = False

    def notify(self, hook: Hook) -> None:
        """Record a webhook and the pull request it names; ignore one that cannot have changed anything."""
        if hook.wakes:
            self.trigger(*(() if hook.number is None else (hook.number,)))

    def trigger(self, *numbers: int) -> None:
        """Wake the waiting thread; ``numbers`` are pull requests to check."""
        with self._changed:
            now = self._clock()
            if not self._count:
                self._first = now
            self._last = now
            self._count += 1
            for number in numbers:
                if number in self._numbers or len(self._numbers) < MOST_NUMBERS:
                    self._numbers.add(number)
                else:
                    self._overflowed = True
            self._changed.notify_all()

    def wait(self, timeout: float | None) -> Wakeup | None:
        """Wait at most ``timeout`` seconds for a notification, then until notifications settle.

        Returns:
            None after the timeout and once closed. The debounce of a notification that came in time adds at most
            ``most`` seconds to the timeout.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._count and not self._closed:
                left = _RECHECK_SECONDS if until is None else until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, _RECHECK_SECONDS))
            while not self._closed:
                left = self._window.remaining(self._first, self._last, self._clock())
                if left <= 0:
                    return self._take()
                self._changed.wait(min(left, _RECHECK_SECONDS))
            return None

    def close(self) -> None:
        """Release the waiting thread, and return at once from every later ``wait``. Safe in a signal handler."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self) -> Wakeup:
        wakeup = Wakeup(self._count, frozenset(self._numbers), self._overflowed)
        self._count, self._numbers, self._overflowed = 0, set(), False
        return wakeup
