"""Canonical JSON and sha256 digests: the one way bytes are made and named on both sides."""

import hashlib
import json
from typing import Any

DIGEST_PREFIX = "sha256:"
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_HEX = frozenset("0123456789abcdef")


def canonical_json(value: Any) -> bytes:
    """Write JSON with sorted keys, no spaces, UTF-8, and no NaN.

    Raises:
        ValueError: A number is not finite.
        TypeError: Something is no JSON value.
    """
    return _ENCODE(value).encode("utf-8")


def digest_bytes(data: bytes) -> str:
    """Name bytes by their sha256, as ``sha256:…``."""
    return DIGEST_PREFIX + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """Name a JSON value by the sha256 of its canonical form."""
    return digest_bytes(canonical_json(value))


def hex_of(digest: str) -> str:
    """Strip ``sha256:``.

    Raises:
        ValueError: This is no sha256 digest.
    """
    prefix, _, rest = digest.partition(":")
    if prefix != "sha256" or len(rest) != 64 or not _HEX.issuperset(rest):
        raise ValueError(f"not a sha256 digest: {digest!r}")
    return rest
