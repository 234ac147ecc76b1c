"""Reassembles evidence that a bundle's script wrote into a client's log, in pieces. Pure; called by drivers.

A line is ``edgewright-evidence NAME NUMBER/COUNT BASE64``, with anything before it; NAME tells one evidence from
another. Lines may come in any order, more than once, and not all.
"""

import base64
import binascii
import re
from collections.abc import Iterable

_PIECE = re.compile(r"edgewright-evidence (\d{1,10}) (\d{1,3})/(\d{1,3}) ([A-Za-z0-9+/]{1,400}={0,2})")
MAX_PIECES = 200


def find_pieces(texts: Iterable[str]) -> tuple[str, ...]:
    """Find the pieces in texts, each once, the latest last; at most MAX_PIECES."""
    found: dict[str, None] = {}
    for text in texts:
        for match in _PIECE.finditer(text):
            found.pop(match[0], None)
            found[match[0]] = None
    return tuple(found)[-MAX_PIECES:]


def without_pieces(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts that carry no evidence."""
    return tuple(text for text in texts if not _PIECE.search(text))


def reassemble(pieces: Iterable[str]) -> tuple[str, ...]:
    """Join the pieces of each evidence that is complete; the one completed last comes last."""
    known: dict[tuple[str, int], dict[int, str]] = {}
    complete: dict[tuple[str, int], str] = {}
    for match in filter(None, map(_PIECE.fullmatch, pieces)):
        name, number, count, data = match[1], int(match[2]), int(match[3]), match[4]
        parts = known.setdefault((name, count), {})
        parts[number] = data
        if all(each in parts for each in range(1, count + 1)) and (name, count) not in complete:
            complete[name, count] = "".join(parts[each] for each in range(1, count + 1))
    return tuple(text for text in map(_decoded, complete.values()) if text)


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
