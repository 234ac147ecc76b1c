"""Parses messages of devices: feedback on actions, and attributes. Pure; called by ``service``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from edgewright.delivery.served.errors import MalformedMessage

Word = TypeVar("Word", bound=StrEnum)

MAX_BODY_BYTES = 512 << 10
"""Of a body."""
_MOST_DETAILS = 200
_LONGEST_DETAIL = 4096
_LONGEST_KEY = 128
_LONGEST_VALUE = 256
MAX_ATTRIBUTES = 100


class Execution(StrEnum):
    """Execution status of an action."""

    PROCEEDING = "proceeding"
    SCHEDULED = "scheduled"
    RESUMED = "resumed"
    DOWNLOAD = "download"
    DOWNLOADED = "downloaded"
    CLOSED = "closed"
    CANCELED = "canceled"
    REJECTED = "rejected"


class Finished(StrEnum):
    """Result of an action."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "none"


class AttributeMode(StrEnum):
    """Treatment of the attributes that are stored already."""

    MERGE = "merge"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Feedback:
    """A device's feedback on an action."""

    execution: Execution
    finished: Finished = Finished.NONE
    everything: bool = False
    """True if all parts are installed: progress n of n."""
    details: tuple[str, ...] = ()
    number: int | None = None
    """The action's, where the body repeats it."""
    clock: datetime | None = None
    """The device's own, as if it were in UTC; None where the body does not say it."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """A device's attributes."""

    mode: AttributeMode
    data: Mapping[str, str]


def read_feedback(body: bytes) -> Feedback:
    """Parse feedback on an action or a cancellation.

    Raises:
        MalformedMessage: It cannot be parsed.
    """
    content = _feedback_object(body)
    status = content.get("status")
    if not isinstance(status, dict):
        raise MalformedMessage("status is no object")
    result = status.get("result")
    result = result if isinstance(result, dict) else {}
    return Feedback(
        execution=_word(Execution, status.get("execution"), "status.execution"),
        finished=_word(Finished, result.get("finished", "none"), "status.result.finished"),
        everything=_is_everything(result.get("progress")),
        details=_details(status.get("details")),
        number=_number(content.get("id")),
        clock=_clock(content.get("time")),
    )


def read_attributes(body: bytes) -> Attributes:
    """Parse configData.

    Raises:
        MalformedMessage: It cannot be parsed, or has too many attributes.
    """
    content = _object(_text(body))
    data = content.get("data")
    if not isinstance(data, dict):
        raise MalformedMessage("data is no object")
    if len(data) > MAX_ATTRIBUTES:
        raise MalformedMessage(f"there are more than {MAX_ATTRIBUTES} attributes")
    found: dict[str, str] = {}
    for key, value in data.items():
        if not isinstance(value, str | int | float | bool) and value is not None:
            raise MalformedMessage("an attribute is no text")
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        if not 0 < len(key) <= _LONGEST_KEY or len(text) > _LONGEST_VALUE:
            raise MalformedMessage(f"names have 1 to {_LONGEST_KEY} characters, values at most {_LONGEST_VALUE}")
        found[_storable(key)] = _storable(text)
    return Attributes(_word(AttributeMode, content.get("mode") or "merge", "mode"), found)


def apply_attributes(known: Mapping[str, str], attributes: Attributes) -> Mapping[str, str]:
    """Apply received attributes to the stored ones; return the new attributes.

    Raises:
        MalformedMessage: There would be too many.
    """
    match attributes.mode:
        case AttributeMode.REPLACE:
            return dict(attributes.data)
        case AttributeMode.REMOVE:
            return {key: value for key, value in known.items() if key not in attributes.data}
        case AttributeMode.MERGE:
            merged = {**known, **attributes.data}
            if len(merged) > MAX_ATTRIBUTES:
                raise MalformedMessage(f"there would be more than {MAX_ATTRIBUTES} attributes")
            return merged


def _feedback_object(body: bytes) -> dict[str, Any]:
    """Parse a body, also as SWUpdate writes it: with unescaped errors between quotation marks at its end."""
    text = _text(body)
    try:
        return _object(text)
    except MalformedMessage:
        head, found, details = text.partition('"details"')
        if not found:
            raise
        content = _object(f'{head}"details": []}}}}')
        status = content.get("status")
        if isinstance(status, dict):
            status["details"] = [details.strip(' \t\r\n:[]}"')]
        return content


def _text(body: bytes) -> str:
    return body.decode("utf-8", errors="replace")


def _object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("the body is no JSON") from error
    if not isinstance(content, dict):
        raise MalformedMessage("the body is no JSON object")
    return content


def _word(kind: type[Word], value: object, name: str) -> Word:
    if not isinstance(value, str) or value.lower() not in set(kind):
        raise MalformedMessage(f"{name} is none of {', '.join(kind)}")
    return kind(value.lower())


def _is_everything(progress: object) -> bool:
    if not isinstance(progress, dict):
        return False
    count, of = progress.get("cnt"), progress.get("of")
    return isinstance(count, int) and isinstance(of, int) and count == of > 0


def _details(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    texts = [each for each in listed if isinstance(each, str)]
    return tuple(_storable(text[:_LONGEST_DETAIL]) for text in texts[-_MOST_DETAILS:])


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _clock(value: object) -> datetime | None:
    """Read a time as clients write it: ``20261201T103000``."""
    try:
        return datetime.strptime(str(value), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _storable(text: str) -> str:
    """Remove characters that databases refuse: zeroes, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", errors="replace").decode("utf-8")
