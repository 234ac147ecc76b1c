"""Telling people and machines. Implemented by ``notices``."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one receiver."""

    at: datetime
    severity: Severity
    reason: str
    """One word in CamelCase, as in events."""
    address: str
    message: str
    environment: str = ""
    revision: str = ""
    suppressed: int = 0
    """How many were left out before this one because of the limit."""
    data: dict[str, str] = field(default_factory=dict)


class Notifier(Protocol):
    """Sends to one receiver."""

    def send(self, notice: Notice) -> None:
        """Send once; may be repeated after a crash.

        Raises:
            NoticeUnavailable: It did not answer, or answered with 5xx or 429.
            NoticeError: It refused, or a secret is missing.
        """
        ...
