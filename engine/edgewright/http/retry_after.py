"""Parse how long a server asks to wait: ``Retry-After`` (RFC 9110, 10.2.3) and the headers of rate limits."""

import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST = 24 * 3600.0
"""Seconds; a server that asks for more is asked again after these."""
_UNSPECIFIED = 60.0
"""GitHub: after a 403 without a figure, wait at least a minute ("Best practices for using the REST API")."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of ``Retry-After``, given as a number or a date; None where there are none."""
    asked = headers.get("retry-after", "").strip()
    if _is_number(asked):
        return min(float(asked), LONGEST)
    date = _timestamp(asked)
    return None if date is None else min(max(0.0, date - _now(headers)), LONGEST)


def rate_limit_wait(status: int, headers: Mapping[str, str]) -> float | None:
    """Return the seconds until a limit is lifted, by ``Retry-After``, else by when the limit is reset."""
    if (seconds := retry_after(headers)) is not None:
        return seconds
    reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
    if _is_number(reset) and headers.get("x-ratelimit-remaining", "0") == "0":
        return min(max(1.0, float(reset) - _now(headers)), LONGEST)
    return _UNSPECIFIED if status == 403 else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _now(headers: Mapping[str, str]) -> float:
    """Return the time on the server's own clock where it sends it: ours may differ."""
    date = _timestamp(headers.get("date", ""))
    return date if date is not None else time.time()


def _timestamp(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
