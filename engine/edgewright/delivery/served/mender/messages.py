"""Parses messages of Mender's clients, strictly: bytes in, values out. Called by ``service`` and the server's routes.

The size of bodies is limited before. Unknown fields, as later clients may send them, are ignored; known ones must be of
their type.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import from_json

from edgewright.delivery.served.errors import MalformedMessage

MOST_ATTRIBUTES = 500
LONGEST_VALUE = 65_536
"""Characters that are read of an attribute's value."""
_Kind = TypeVar("_Kind")


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class AuthRequest(_Message):
    """A device asks to be accepted."""

    id_data: dict[str, str] = Field(min_length=1, max_length=32)
    """The device's identity: attributes by name. Clients send them as JSON in a string."""
    pubkey: str = Field(max_length=16 * 1024)
    """PEM."""
    tenant_token: str = Field(default="", max_length=1024)

    @field_validator("id_data", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        found = from_json(value) if isinstance(value, str) else value
        return {name: _plain(each) for name, each in found.items()} if isinstance(found, dict) else found


class Attribute(_Message):
    """One inventory attribute."""

    name: str = Field(min_length=1, max_length=256)
    value: str

    @field_validator("value", mode="before")
    @classmethod
    def _read(cls, value: Any) -> str:
        return _plain(value)[:LONGEST_VALUE]


class _Provides(_Message):
    device_provides: dict[str, str] = Field(max_length=MOST_ATTRIBUTES)


class StatusReport(_Message):
    """Progress of a device with a deployment."""

    status: str = Field(min_length=1, max_length=64)


class LogMessage(_Message):
    """One line of a deployment's log."""

    level: str = ""
    message: str = ""


class _Log(_Message):
    messages: list[LogMessage]


_AUTH = TypeAdapter(AuthRequest)
_ATTRIBUTES = TypeAdapter(list[Attribute])
_PROVIDES = TypeAdapter(_Provides)
_STATUS = TypeAdapter(StatusReport)
_LOG = TypeAdapter(_Log)


def read_auth_request(body: bytes) -> AuthRequest:
    """Parse the body of an authentication request.

    Raises:
        MalformedMessage: It is none.
    """
    return _read(_AUTH, body)


def read_attributes(body: bytes) -> Mapping[str, str]:
    """Parse inventory attributes: values by name; lists become lines.

    Raises:
        MalformedMessage: They are none, or too many.
    """
    found = _read(_ATTRIBUTES, body)
    if len(found) > MOST_ATTRIBUTES:
        raise MalformedMessage(f"there are more than {MOST_ATTRIBUTES} attributes")
    return {attribute.name: attribute.value for attribute in found}


def read_provides(body: bytes) -> Mapping[str, str]:
    """Parse ``device_provides`` of a request for the next deployment.

    Raises:
        MalformedMessage: There is none.
    """
    return _read(_PROVIDES, body).device_provides


def read_status(body: bytes) -> StatusReport:
    """Parse a status report.

    Raises:
        MalformedMessage: It is none.
    """
    return _read(_STATUS, body)


def read_log(body: bytes) -> list[LogMessage]:
    """Parse a deployment's log.

    Raises:
        MalformedMessage: It is none.
    """
    return _read(_LOG, body).messages


def _read(kind: TypeAdapter[_Kind], body: bytes) -> _Kind:
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the body"
        raise MalformedMessage(f"{where[:200]}: {problem['msg'][:200]}") from error


def _plain(value: Any) -> str:
    """Return an attribute as text: the values of a list as lines."""
    if isinstance(value, list):
        return "\n".join(_plain(each) for each in value)
    return value if isinstance(value, str) else json.dumps(value)
