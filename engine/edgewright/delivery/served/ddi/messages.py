"""Reads what devices send: feedback on actions, and attributes. Pure; called by ``desk``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

Word = TypeVar("Word", bound=StrEnum)

MOST_BYTES = 512 << 10
"""Of a body."""
_MOST_DETAILS = 200
_LONGEST_DETAIL = 4096
_LONGEST_KEY = 128
_LONGEST_VALUE = 256
MOST_ATTRIBUTES = 100


class Malformed(ValueError):
    """A body cannot be understood; the text says why."""


class Execution(StrEnum):
    """How a device is at an action."""

    PROCEEDING = "proceeding"
    SCHEDULED = "scheduled"
    RESUMED = "resumed"
    DOWNLOAD = "download"
    DOWNLOADED = "downloaded"
    CLOSED = "closed"
    CANCELED = "canceled"
    REJECTED = "rejected"


class Finished(StrEnum):
    """What came of it."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "none"


class Mode(StrEnum):
    """What is done with attributes that are known already."""

    MERGE = "merge"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a device says of an action."""

    execution: Execution
    finished: Finished = Finished.NONE
    everything: bool = False
    """Whether it says that all parts are installed: progress n of n."""
    details: tuple[str, ...] = ()
    number: int | None = None
    """The action's, where the body repeats it."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a device says of itself."""

    mode: Mode
    data: Mapping[str, str]


def read_feedback(body: bytes) -> Feedback:
    """Read feedback on an action or a cancelation.

    Raises:
        Malformed: It cannot be understood.
    """
    content = _feedback_object(body)
    status = content.get("status")
    if not isinstance(status, dict):
        raise Malformed("status is no object")
    result = status.get("result")
    result = result if isinstance(result, dict) else {}
    return Feedback(
        execution=_word(Execution, status.get("execution"), "status.execution"),
        finished=_word(Finished, result.get("finished", "none"), "status.result.finished"),
        everything=_is_everything(result.get("progress")),
        details=_details(status.get("details")),
        number=_number(content.get("id")),
    )


def read_attributes(body: bytes) -> Attributes:
    """Read configData.

    Raises:
        Malformed: It cannot be understood, or is more than is kept.
    """
    content = _object(_text(body))
    data = content.get("data")
    if not isinstance(data, dict):
        raise Malformed("data is no object")
    if len(data) > MOST_ATTRIBUTES:
        raise Malformed(f"there are more than {MOST_ATTRIBUTES} attributes")
    found: dict[str, str] = {}
    for key, value in data.items():
        if not isinstance(value, str | int | float | bool) and value is not None:
            raise Malformed("an attribute is no text")
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        if not 0 < len(key) <= _LONGEST_KEY or len(text) > _LONGEST_VALUE:
            raise Malformed(f"names have 1 to {_LONGEST_KEY} characters, values at most {_LONGEST_VALUE}")
        found[_storable(key)] = _storable(text)
    return Attributes(_word(Mode, content.get("mode") or "merge", "mode"), found)


def apply_attributes(known: Mapping[str, str], said: Attributes) -> Mapping[str, str]:
    """Work out what a device's attributes are now.

    Raises:
        Malformed: They would be more than is kept.
    """
    match said.mode:
        case Mode.REPLACE:
            return dict(said.data)
        case Mode.REMOVE:
            return {key: value for key, value in known.items() if key not in said.data}
        case Mode.MERGE:
            merged = {**known, **said.data}
            if len(merged) > MOST_ATTRIBUTES:
                raise Malformed(f"there would be more than {MOST_ATTRIBUTES} attributes")
            return merged


def _feedback_object(body: bytes) -> dict[str, Any]:
    """Read a body, also as SWUpdate writes it: errors stand between quotation marks as they are, at its end."""
    text = _text(body)
    try:
        return _object(text)
    except Malformed:
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
        raise Malformed("the body is no JSON") from error
    if not isinstance(content, dict):
        raise Malformed("the body is no JSON object")
    return content


def _word(kind: type[Word], value: object, name: str) -> Word:
    if not isinstance(value, str) or value.lower() not in set(kind):
        raise Malformed(f"{name} is none of {', '.join(kind)}")
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


def _storable(text: str) -> str:
    """Leave out what no database takes: zeroes, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", errors="replace").decode("utf-8")
