"""Signed webhooks: one JSON body for each notification, to any endpoint.

Headers::

    X-Edgewright-Delivery:   the notification's id; the same when it is sent again, so that doubles can be dropped
    X-Edgewright-Timestamp:  seconds since 1970, when this attempt was made
    X-Edgewright-Signature:  sha256=HMAC-SHA256(key, timestamp + "." + body), in hexadecimal digits
"""

import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from edgewright.core.status.notifications import Notification
from edgewright.notifications.poster import Poster
from edgewright.secret import Secret


def _utc_now() -> datetime:
    return datetime.now(UTC)


class WebhookNotifier:
    """Implements ports.Notifier."""

    def __init__(self, poster: Poster, key: Secret, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._poster = poster
        self._key = key
        self._clock = clock

    def send(self, notification: Notification) -> None:
        """Post one notification; may be repeated.

        Raises:
            NotificationUnavailable, NotificationError: As Poster.post.
        """
        body = payload(notification)

        def headers() -> Mapping[str, str]:
            timestamp = str(int(self._clock().timestamp()))
            return {
                "X-Edgewright-Delivery": notification.id,
                "X-Edgewright-Timestamp": timestamp,
                "X-Edgewright-Signature": sign(self._key, timestamp, body),
            }

        self._poster.post(body, headers)


def payload(notification: Notification) -> bytes:
    """Write a notification as JSON."""
    return json.dumps(
        {
            "id": notification.id,
            "at": notification.at.isoformat(),
            "severity": notification.severity,
            "reason": notification.reason,
            "address": notification.address,
            "message": notification.message,
            "environment": notification.environment,
            "revision": notification.revision,
            "suppressed": notification.suppressed,
            "data": dict(notification.data),
        },
        ensure_ascii=False,
    ).encode(errors="replace")


def sign(key: Secret, timestamp: str, body: bytes) -> str:
    """Sign a body and when it is sent, so that an old request cannot be sent again later."""
    return "sha256=" + hmac.new(key.reveal().encode(), f"{timestamp}.".encode() + body, "sha256").hexdigest()
