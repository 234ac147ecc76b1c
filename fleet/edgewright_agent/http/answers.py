"""Parsing of an HTTP response's headers and body. Pure.

Sources: RFC 9110 (Retry-After, Content-Range, entity tags), RFC 7240 (Prefer). ``Edgewright-Poll`` is the server's own.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

POLL_HEADER = "Edgewright-Poll"
SHORTEST_POLL, LONGEST_POLL = 1.0, 3600.0
LONGEST_RETRY = 86400.0
LONGEST_LINE = 300
BUSY = frozenset({429, 503})
GONE = frozenset({403, 404, 410})
"""How servers say that there is no such file; object stores that may not list answer 403."""

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE | re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds the server asks to wait, at most a day; 0 when it asks for nothing that can be read.

    Args:
        headers: The answer's; lookup ignores case.
        now: The wall clock, for a server that names a date.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    # By the server's own clock, if it says it: the device's may be wrong.
    with suppress(ValueError):
        now = _aware(parsedate_to_datetime(headers.get("Date", "")))
    return min(max(0.0, (_aware(date) - now).total_seconds()), LONGEST_RETRY)


def _aware(date: datetime) -> datetime:
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def poll_interval(headers: Mapping[str, str]) -> float | None:
    """Seconds between polls as the server sets them, within a second and an hour; None when it sets none."""
    text = headers.get(POLL_HEADER, "").strip()
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return None
    return min(max(float(text), SHORTEST_POLL), LONGEST_POLL)


def granted_wait(headers: Mapping[str, str]) -> float:
    """Seconds a server says that it would wait for a change (``Preference-Applied: wait=…``); 0 when it says none."""
    match = _WAIT.search(headers.get("Preference-Applied", ""))
    return float(match[1]) if match else 0.0


def range_start(headers: Mapping[str, str]) -> int | None:
    """Offset of a partial answer's first byte; None when it does not say."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    return int(match[1]) if match else None


def entity_tag(headers: Mapping[str, str]) -> str:
    """The strong entity tag: equal tags mean equal bytes; empty when there is none."""
    tag = headers.get("ETag", "").strip()
    return tag if re.fullmatch(r'"[\x21\x23-\x7e\x80-\xff]*"', tag) else ""


def said(body: bytes) -> str:
    """Return a body's error message, in one line: its ``error`` if it is JSON, else its beginning."""
    text = body.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        named = [str(parsed[key]) for key in ("reason", "error", "detail") if parsed.get(key)]
        text = ": ".join(named) or text
    elif "<html" in text.lower():
        parts = re.split(r"</?title>", text, maxsplit=2, flags=re.IGNORECASE)
        text = parts[1] if len(parts) == 3 else ""
    return one_line(text)


def one_line(text: str) -> str:
    """Return foreign text fit for display: one bounded line without control characters."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))[:LONGEST_LINE]
