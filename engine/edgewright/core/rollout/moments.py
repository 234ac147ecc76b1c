"""Moments as people read them. Called by ``machine`` for its messages."""

from datetime import UTC, datetime, timedelta


def minute_text(moment: datetime) -> str:
    """Write the minute by which an aware moment has come: ``2026-12-01 06:14 UTC``."""
    utc = moment.astimezone(UTC)
    full = utc.replace(second=0, microsecond=0)
    return f"{full if full == utc else full + timedelta(minutes=1):%Y-%m-%d %H:%M} UTC"
