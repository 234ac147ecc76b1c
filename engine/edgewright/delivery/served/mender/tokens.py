"""Tokens that devices with Mender's client show, and links that artifacts are fetched by: signed JSON (JWT, EdDSA).

They say for whom and until when, and are worth nothing without a look at the store: a device that is retired, or a
deployment that has ended, is refused with the best of tokens. Called by ``desk``.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, ValidationError

from edgewright_wire.canonical import canonical_json

LONGEST = 4096
"""Characters."""
_HEADER = {"alg": "EdDSA", "typ": "JWT"}
_DOTS = 2


class TokenPurpose(StrEnum):
    """What a token is good for; one kind never passes for another."""

    DEVICE = "device"
    ARTIFACT = "artifact"


class Claims(BaseModel):
    """What a token says."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    use: str
    env: str
    """The environment's name."""
    sub: str
    """The device's key, or of a link, the device."""
    exp: int
    """Seconds since 1970; it counts before then."""
    job: int = 0
    """Of a link: the number of the device's job."""


class NoToken(Exception):
    """There is no token that counts."""


def issue(
    key: Ed25519PrivateKey, use: TokenPurpose, environment: str, subject: str, until: datetime, job: int = 0
) -> str:
    """Make a token."""
    claims = {"use": use, "env": environment, "sub": subject, "exp": int(until.timestamp()), "job": job}
    signed = f"{_encode(_HEADER)}.{_encode(claims)}"
    return f"{signed}.{_base64(key.sign(signed.encode()))}"


def environment_of(token: str) -> str:
    """Say which environment a token is for, before anything of it is believed.

    Raises:
        NoToken: It is none.
    """
    return _claims(token).env


def check(key: Ed25519PrivateKey, token: str, use: TokenPurpose, environment: str, now: datetime) -> Claims:
    """Read a token of ours.

    Raises:
        NoToken: Somebody else made it, it has run out, or it is for something else.
    """
    claims = _claims(token)
    signed, _, signature = token.rpartition(".")
    try:
        key.public_key().verify(_bytes(signature), signed.encode())
    except InvalidSignature:
        raise NoToken("the token was not made here") from None
    if claims.use != use or claims.env != environment:
        raise NoToken("the token is for something else")
    if now.astimezone(UTC).timestamp() >= claims.exp:
        raise NoToken("the token has run out")
    return claims


def _claims(token: str) -> Claims:
    """Read what a token says, whoever made it. Its header is never asked how it is to be checked."""
    if len(token) > LONGEST or token.count(".") != _DOTS or not token.isascii():
        raise NoToken("this is no token")
    try:
        return Claims.model_validate_json(_bytes(token.split(".")[1]))
    except ValidationError:
        raise NoToken("this is no token") from None


def _encode(value: Mapping[str, Any]) -> str:
    return _base64(canonical_json(value))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise NoToken("this is no token") from None
