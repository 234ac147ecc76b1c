"""Reads JSON objects of long lists, keeping where each entry begins. Called by ``coco``."""

import json
import re
from bisect import bisect_left
from typing import Any

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


class Places:
    """Names places in a text."""

    def __init__(self, shown: str, text: str) -> None:
        self.shown = shown
        self._lines = [match.start() for match in re.finditer("\n", text)]

    def at(self, offset: int) -> str:
        """Name an offset as ``file:line:column``."""
        line = bisect_left(self._lines, offset)
        return f"{self.shown}:{line + 1}:{offset - (self._lines[line - 1] if line else -1)}"

    def of(self, offset: int, record: dict[str, Any], value: Any) -> str:
        """Name a record by its id, with the value that is wrong with it."""
        told = f"annotation {record['id']}" if "id" in record else "an annotation"
        return f"{self.at(offset)} ({told}{f', {value!r}' if value is not None else ''})"


def read_members(text: str) -> Any:
    """Parse an object, whose members that are lists come as lists of (offset, entry).

    Raises:
        json.JSONDecodeError: It is no JSON.
    """
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return _DECODER.decode(text[at:])
    members: dict[str, Any] = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        key, at = _DECODER.raw_decode(text, at)
        if not isinstance(key, str):
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
        at = _skip(text, _expect(text, _skip(text, at), ":"))
        members[key], at = _entries(text, at) if text[at : at + 1] == "[" else _DECODER.raw_decode(text, at)
        at = _next(text, at, "}")
    if _skip(text, at + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, at + 1)
    return members


def _entries(text: str, at: int) -> tuple[list[tuple[int, Any]], int]:
    found: list[tuple[int, Any]] = []
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        value, end = _DECODER.raw_decode(text, at)
        found.append((at, value))
        at = _next(text, end, "]")
    return found, at + 1


def _next(text: str, at: int, end: str) -> int:
    """Return where the next entry begins, or where the closing bracket is."""
    at = _skip(text, at)
    if text[at : at + 1] == end:
        return at
    after = _skip(text, _expect(text, at, ","))
    if text[after : after + 1] == end:
        raise json.JSONDecodeError("Illegal trailing comma", text, at)
    return after


def _expect(text: str, at: int, what: str) -> int:
    if text[at : at + 1] != what:
        raise json.JSONDecodeError(f"Expecting {what!r}", text, at)
    return at + 1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match is not None else at
