"""Reads fields of answers, so that an answer of another shape is an error and no crash."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from edgewright.errors import ForgeUnavailable

T = TypeVar("T")


def field(answer: Any, path: str, kind: type[T]) -> T:
    """Follow ``head.sha`` through an answer.

    Raises:
        ForgeUnavailable: It is not there, or of another type.
    """
    value = answer
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ForgeUnavailable(
            f"the forge's answer has no {path}", hint="something between answered, or this version is not supported"
        )
    return value


def text(answer: Any, path: str) -> str:
    """Follow a path to a text; empty where there is none."""
    value = answer
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else ""


def moment(answer: Any, path: str) -> datetime | None:
    """Follow a path to a time; None where there is none, or none that can be read."""
    try:
        found = datetime.fromisoformat(text(answer, path))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def cut(words: str, longest: int) -> str:
    """Shorten to so many characters."""
    return words if len(words) <= longest else words[: longest - 1] + "…"
