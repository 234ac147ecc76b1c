"""Retry of transient failures: exponential backoff with jitter, per subject. Called by ``agent``.

A subject is a model's name, or one of the constants here for what concerns the whole device. Nothing of this outlives
the process: after a restart everything is tried at once.
"""

from edgewright_agent.decide import Refusal
from edgewright_agent.errors import Transient

POLL = ":poll"
REPORT = ":report"
CLEAN = ":clean"
SPREAD = 0.2
"""Devices that were asked to wait come back spread over so much more of that time."""


class Schedule:
    """Due times and troubles by subject.

    Args:
        first: Seconds of the first wait; doubles each time.
        longest: Bound of all waits.
        longest_poll: Bound of waits between polls: looking again is cheap.
    """

    def __init__(self, first: float, longest: float, longest_poll: float) -> None:
        self._first = first
        self._longest = longest
        self._longest_poll = min(longest, longest_poll)
        self._attempts: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self.troubles: dict[str, Refusal] = {}
        """What hinders each subject now."""

    def due(self, subject: str) -> float:
        """Return the time a subject is due; the past when nothing was set."""
        return self._due.get(subject, 0.0)

    def waiting(self) -> dict[str, float]:
        """Models that wait, and until when."""
        return {subject: due for subject, due in self._due.items() if not subject.startswith(":")}

    def set(self, subject: str, due: float) -> None:
        """Make a subject due."""
        self._due[subject] = due

    def failed(self, subject: str, error: Transient, now: float, jitter: float) -> float:
        """Count a failure; returns the seconds to wait, at least those the other side asks for."""
        attempts = self._attempts.get(subject, 0)
        self._attempts[subject] = attempts + 1
        longest = self._longest_poll if subject == POLL else self._longest
        backoff = min(longest, self._first * 2.0 ** min(attempts, 30)) * (0.5 + jitter / 2)
        wait = max(backoff, error.retry_after * (1 + SPREAD * jitter))
        self._due[subject] = now + wait
        self.troubles[subject] = Refusal(error.reason, error.message)
        return wait

    def passed(self, subject: str) -> None:
        """Forget failures of a subject; when it is due again stays for devices' subjects, models are due at once."""
        self._attempts.pop(subject, None)
        self.troubles.pop(subject, None)
        if not subject.startswith(":"):
            self._due.pop(subject, None)
