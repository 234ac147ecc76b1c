"""Base of every kind: strictness, names, quantities, the document frame."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from edgewright_wire.names import ModelName

API_VERSION: Literal["edgewright.dev/v1alpha1"] = "edgewright.dev/v1alpha1"
PRUNE_ANNOTATION = "edgewright.dev/prune"
EVALUATE_ANNOTATION = "edgewright.dev/evaluate"
EVALUATE_AGAIN = "again"

JsonValue = None | bool | int | float | str | list[Any] | dict[str, Any]


class SpecModel(BaseModel):
    """Base of everything inside a document: frozen, camelCase outside, no unknown field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        serialize_by_alias=True,
        allow_inf_nan=False,
        defer_build=True,
    )


_DURATION_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"^(?:\d+(?:\.\d+)?[wdhms])+$")
_DURATION_PART = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)([wdhms])")


def parse_duration(value: object) -> object:
    """Turn ``"1h30m"`` into a timedelta; leave what is no string to pydantic.

    Raises:
        ValueError: The string is no duration.
    """
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _DURATION.match(value):
        raise ValueError('a duration is a number and a unit, like "90s", "30m", "1h30m" or "7d"')
    parts = {_DURATION_UNITS[unit]: float(number) for number, unit in _DURATION_PART.findall(value)}
    return timedelta(**parts)


def format_duration(value: timedelta) -> str:
    """Write a timedelta the way specs do: ``1h30m``."""
    rest = int(value.total_seconds())
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    if rest or not parts:
        parts.append(f"{rest}s")
    return "".join(parts)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION.pattern, "examples": ["30m", "1h30m", "7d"]}),
]

_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)$")


def parse_size(value: object) -> object:
    """Turn ``"400KiB"`` into a number of bytes; leave numbers as they are.

    Raises:
        ValueError: The string is no size.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.match(value)
    if not match:
        raise ValueError('a size is a number and a unit, like "400KiB" or "2MB"')
    return float(match[1]) * _SIZE_UNITS[match[2]]


Quantity = Annotated[
    float,
    BeforeValidator(parse_size),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": _SIZE.pattern}]}),
]
"""A number, or a size with a unit (then: bytes)."""

Name = Annotated[ModelName, Field(examples=["price-tag-reader"])]
"""A resource's name: lower-case letters, digits, ``-`` and ``.``; at most 253 characters."""

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]


class Metadata(SpecModel):
    """Name, labels and description of a resource; no part of any fingerprint."""

    name: Name
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    description: str = ""


class Selector(SpecModel):
    """Selects devices by their labels; all must match."""

    match_labels: dict[str, str] = Field(min_length=1)

    def matches(self, labels: dict[str, str]) -> bool:
        """Return whether a device with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items())


class Use(SpecModel):
    """Names a built-in (``resize``) or the repository's own code (``code/steps.py:denoise``), with arguments."""

    use: str = Field(min_length=1, examples=["resize", "code/steps.py:denoise"])
    with_: dict[str, Any] = Field(default={}, alias="with")
    inputs: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value, examples=[["code/backbone.pt"]])
    """Repository files and folders that the code reads, such as a checkpoint; a change in one makes it again. The files
    it imports need not be listed."""

    @model_validator(mode="after")
    def _inputs_of_code(self) -> Self:
        if self.inputs and not is_code_reference(self.use):
            raise ValueError(f"inputs go with the repository's own code, and {self.use} is built in")
        return self


def is_code_reference(use: str) -> bool:
    """Return whether ``use`` names the repository's own code (``path/file.py:name``) rather than a built-in."""
    path, _, name = use.partition(":")
    return path.endswith(".py") and bool(name)
