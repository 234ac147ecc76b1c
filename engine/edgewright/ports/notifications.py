"""Notifying people and machines. Implemented by ``notifications``."""

from typing import Protocol

from edgewright.core.status.notifications import Notification


class Notifier(Protocol):
    """Sends to one receiver."""

    def send(self, notification: Notification) -> None:
        """Send once; may be repeated after a crash, with the same ``notification.id``.

        Raises:
            NotificationUnavailable: It did not answer, or answered with 5xx or 429.
            NotificationError: It refused.
        """
        ...
