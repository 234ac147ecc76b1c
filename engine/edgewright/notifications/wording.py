"""Subject and body of a notification as text. Used by ``chat`` and ``mail``."""

from edgewright.core.status.notifications import Notification

_LONGEST = 2000
_REVISION = 12


def subject(notification: Notification) -> str:
    """Return a notification's subject line: ``error: model/reader GateFailed (production)``."""
    where = f" ({notification.environment})" if notification.environment else ""
    what = " ".join(part for part in (notification.address, notification.reason) if part)
    return f"{notification.severity}: {what}{where}"


def details(notification: Notification) -> list[str]:
    """Return the body's lines: the message, the commit, the number left out."""
    message = (
        notification.message if len(notification.message) <= _LONGEST else notification.message[: _LONGEST - 1] + "…"
    )
    lines = [message] if message else []
    facts = [f"{notification.at:%Y-%m-%d %H:%M:%S} UTC"]
    if notification.revision:
        facts.append(f"commit {notification.revision[:_REVISION]}")
    if notification.data.get("from") and notification.data.get("to"):
        facts.append(f"{notification.data['from']} → {notification.data['to']}")
    lines.append(", ".join(facts))
    if notification.suppressed and notification.reason != "NotificationsLeftOut":
        count = notification.suppressed
        left_out = (
            "1 notification before this one was" if count == 1 else f"{count:,} notifications before this one were"
        )
        lines.append(f"{left_out} left out because of the limit; `edgewright history` shows everything")
    return lines
