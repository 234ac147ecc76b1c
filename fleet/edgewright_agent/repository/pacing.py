"""Pauses between polls of a server, by pure functions; ``Pace`` holds the interval that the server set last."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgewright_agent.http.answers import poll_interval

SPREAD = 0.2
"""Polls are spread by so much of their interval either way, so that devices started together drift apart."""
BREATH = 1.0
"""Seconds between two requests at the very least, however eager a server answers."""
FIRST_AFTER_FAILURE, LONGEST_AFTER_FAILURE = 5.0, 300.0


class Pace:
    """Seconds between polls: as agent.toml says, until a server says otherwise. Thread-safe."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._changed = threading.Event()

    def heard(self, headers: Mapping[str, str]) -> None:
        """Look at an answer's headers."""
        seconds = poll_interval(headers)
        if seconds is not None and seconds != self.seconds:
            self.seconds = seconds
            self._changed.set()

    def wait(self, seconds: Callable[[], float], clock: Callable[[], float], ended: Callable[[], bool]) -> None:
        """Wait; when the pace changes meanwhile, for as long as then is right.

        Args:
            seconds: How long from the beginning on, given the pace now.
            clock: Monotonic seconds.
            ended: Whether to stop waiting; looked at when ``interrupt`` is called.
        """
        begun = clock()
        while not ended() and (left := begun + seconds() - clock()) > 0:
            self._changed.wait(left)
            self._changed.clear()

    def interrupt(self) -> None:
        """Make whoever waits look up."""
        self._changed.set()


@dataclass(frozen=True, slots=True)
class PollAttempt:
    """One conditional request for the repository's timestamp, and what came of it."""

    conditional: bool
    """Whether the server was told what is known here, so that it could wait for something else."""
    wait: float
    """Seconds the server was asked to wait for a change; 0 when it was not."""
    took: float
    """Seconds until its answer."""
    granted: float = 0.0
    """Seconds it says that it would wait; 0 when it says nothing of it."""
    changed: bool = False
    failures: int = 0
    """How many requests in a row have failed, this one included."""
    retry_after: float = 0.0


def pause_after(asked: PollAttempt, interval: float, jitter: float) -> float:
    """Seconds until the next request.

    A server that waits is asked again at once. One that does not, or answers early that nothing changed, is polled.

    Args:
        asked: The last request.
        interval: Seconds between polls.
        jitter: 0 to 1.
    """
    spread = interval * (1 - SPREAD + 2 * SPREAD * jitter)
    if asked.failures:
        backoff = min(interval, FIRST_AFTER_FAILURE) * (0.5 + jitter) * 2.0 ** min(asked.failures - 1, 20)
        return max(asked.retry_after * (1 + SPREAD * jitter), min(backoff, max(spread, LONGEST_AFTER_FAILURE)))
    waits = asked.granted > 0 and (asked.changed or asked.took >= min(asked.granted, asked.wait) / 2)
    if asked.wait and (waits or not asked.conditional):
        return max(0.0, BREATH - asked.took)
    return spread
