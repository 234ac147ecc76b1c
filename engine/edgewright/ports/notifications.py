"""Telling people and machines. Implemented by ``notices``."""

from typing import Protocol

from edgewright.core.status.notifications import Notification


class Notifier(Protocol):
    """Sends to one receiver."""

    def send(self, notice: Notification) -> None:
        """Send once; may be repeated after a crash, with the same ``notice.id``.

        Raises:
            NoticeUnavailable: It did not answer, or answered with 5xx or 429.
            NoticeError: It refused.
        """
        ...
