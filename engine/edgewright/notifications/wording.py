"""Subject and body of a notification as text. Used by ``chat`` and ``mail``."""

from edgewright.core.status.notifications import Notification

_LONGEST = 2000
_REVISION = 12


def subject(notice: Notification) -> str:
    """Return a notification's subject line: ``error: model/reader GateFailed (production)``."""
    where = f" ({notice.environment})" if notice.environment else ""
    what = " ".join(part for part in (notice.address, notice.reason) if part)
    return f"{notice.severity}: {what}{where}"


def details(notice: Notification) -> list[str]:
    """Return the body's lines: the message, the commit, the number left out."""
    message = notice.message if len(notice.message) <= _LONGEST else notice.message[: _LONGEST - 1] + "…"
    lines = [message] if message else []
    facts = [f"{notice.at:%Y-%m-%d %H:%M:%S} UTC"]
    if notice.revision:
        facts.append(f"commit {notice.revision[:_REVISION]}")
    if notice.data.get("from") and notice.data.get("to"):
        facts.append(f"{notice.data['from']} → {notice.data['to']}")
    lines.append(", ".join(facts))
    if notice.suppressed and notice.reason != "NoticesLeftOut":
        count = notice.suppressed
        left_out = "1 notice before this one was" if count == 1 else f"{count:,} notices before this one were"
        lines.append(f"{left_out} left out because of the limit; `edgewright history` shows everything")
    return lines
