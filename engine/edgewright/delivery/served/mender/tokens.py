"""Tokens of devices with Mender's client, and of links to artifacts: signed JSON (JWT, EdDSA).

They hold a subject and an expiry, and are checked together with the store: a device that is retired, or a deployment
that has ended, is refused with a valid token, too. Called by ``service`` and the server's routes.
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
    """Purpose of a token; a token of one purpose is never accepted for the other."""

    DEVICE = "device"
    ARTIFACT = "artifact"


class TokenClaims(BaseModel):
    """The claims of a token."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    use: str
    env: str
    """The environment's name."""
    sub: str
    """The device's key, or of a link, the device."""
    exp: int
    """Expiry, in seconds since 1970."""
    job: int = 0
    """Of a link: the number of the device's job."""


class TokenRejected(Exception):
    """A token is missing or not valid; the text is fit for the sender."""


def issue_token(
    key: Ed25519PrivateKey, use: TokenPurpose, environment: str, subject: str, until: datetime, job: int = 0
) -> str:
    """Issue a token."""
    claims = {"use": use, "env": environment, "sub": subject, "exp": int(until.timestamp()), "job": job}
    signed = f"{_encode(_HEADER)}.{_encode(claims)}"
    return f"{signed}.{_base64(key.sign(signed.encode()))}"


def environment_of(token: str) -> str:
    """Return the environment that a token names, before its signature is verified.

    Raises:
        TokenRejected: It is no token.
    """
    return _claims(token).env


def check_token(key: Ed25519PrivateKey, token: str, use: TokenPurpose, environment: str, now: datetime) -> TokenClaims:
    """Verify a token, and return its claims.

    Raises:
        TokenRejected: Its signature is wrong, it has expired, or it is for another purpose or environment.
    """
    claims = _claims(token)
    signed, _, signature = token.rpartition(".")
    try:
        key.public_key().verify(_bytes(signature), signed.encode())
    except InvalidSignature:
        raise TokenRejected("the token was not made here") from None
    if claims.use != use or claims.env != environment:
        raise TokenRejected("the token is for something else")
    if now.astimezone(UTC).timestamp() >= claims.exp:
        raise TokenRejected("the token has run out")
    return claims


def _claims(token: str) -> TokenClaims:
    """Parse the claims of a token, without verifying it. The algorithm in its header is never used."""
    if len(token) > LONGEST or token.count(".") != _DOTS or not token.isascii():
        raise TokenRejected("this is no token")
    try:
        return TokenClaims.model_validate_json(_bytes(token.split(".")[1]))
    except ValidationError:
        raise TokenRejected("this is no token") from None


def _encode(value: Mapping[str, Any]) -> str:
    return _base64(canonical_json(value))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenRejected("this is no token") from None
