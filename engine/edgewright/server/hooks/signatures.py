"""Verifies the signatures of webhooks of all forges, before a byte of the body is read. Called by ``webhooks``.

Where each is documented: GitHub "Validating webhook deliveries"; Gitea and Forgejo "Webhooks"; GitLab "Webhooks", whose
signing token follows the Standard Webhooks specification 1.0; Bitbucket "Manage webhooks"; Azure DevOps "Webhooks".
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

from edgewright.secret import Secret

_HEX_DIGEST = 64
_STANDARD_PREFIX = "whsec_"
_MOST_SIGNATURES = 16
"""Standard Webhooks lets a sender name several at once, one for each of its keys."""

HEX_HEADERS: Mapping[str, tuple[str, ...]] = {
    "github": ("x-hub-signature-256",),
    "gitea": ("x-gitea-signature", "x-forgejo-signature"),
    "forgejo": ("x-forgejo-signature", "x-gitea-signature"),
    "bitbucket": ("x-hub-signature",),
    "generic": ("x-signature",),
}
"""Where the HMAC-SHA256 of the body is, in hexadecimal; the first that is there counts, and no other rescues it."""
_BARE = ("x-gitea-signature", "x-forgejo-signature")
"""Those that are written without ``sha256=`` before them."""


def is_authentic(forge: str, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret]) -> bool:
    """Return whether one of the secrets signed this request; ``headers`` in lower case. Empty secrets count as none."""
    keys = [secret.reveal().encode() for secret in secrets if secret.reveal().strip()]
    if not keys:
        return False
    match forge:
        case "gitlab":
            return _signed_by_gitlab(headers, body, keys)
        case "azure":
            return _is_password(headers.get("authorization", ""), keys)
        case _:
            name = next((name for name in HEX_HEADERS.get(forge, ()) if name in headers), None)
            return name is not None and _signed_in_hex(headers[name], name not in _BARE, body, keys)


def _signed_in_hex(value: str, prefixed: bool, body: bytes, keys: Sequence[bytes]) -> bool:
    prefix, _, digest = value.strip().rpartition("=")
    if prefix.lower() != ("sha256" if prefixed else "") or len(digest) != _HEX_DIGEST:
        return False
    given = _raw(digest.lower())
    return _any([hmac.compare_digest(given, hmac.new(key, body, "sha256").hexdigest().encode()) for key in keys])


def _signed_by_gitlab(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes]) -> bool:
    """A signature, where there is one, must fit; GitLab may send its older token beside it."""
    if (signatures := headers.get("webhook-signature")) is not None:
        return _signed_by_standard(headers, signatures, body, keys)
    token = _raw(headers.get("x-gitlab-token", ""))
    return _any([hmac.compare_digest(token, key) for key in keys])


def _signed_by_standard(headers: Mapping[str, str], signatures: str, body: bytes, keys: Sequence[bytes]) -> bool:
    identity, moment = headers.get("webhook-id"), headers.get("webhook-timestamp")
    if not identity or not moment:
        return False
    signed = b".".join((_raw(identity), _raw(moment), body))
    expected = [b"v1," + base64.b64encode(hmac.new(_standard_key(key), signed, "sha256").digest()) for key in keys]
    given = [_raw(signature) for signature in signatures.split(" ")[:_MOST_SIGNATURES]]
    return _any([hmac.compare_digest(one, other) for one in given for other in expected])


def _standard_key(secret: bytes) -> bytes:
    """``whsec_`` and base64 of the key itself; any other secret is the key as it stands."""
    text = secret.decode()
    if text.startswith(_STANDARD_PREFIX):
        try:
            return base64.b64decode(text.removeprefix(_STANDARD_PREFIX), validate=True) or secret
        except binascii.Error:
            return secret
    return secret


def _is_password(authorization: str, keys: Sequence[bytes]) -> bool:
    """Basic authentication (RFC 7617); the user's name is not looked at."""
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        _, colon, password = base64.b64decode(_raw(encoded.strip()), validate=True).partition(b":")
    except binascii.Error:
        return False
    return _any([hmac.compare_digest(password, key) for key in keys]) and bool(colon)


def _any(outcomes: list[bool]) -> bool:
    """Return whether one is true. A list, so that every comparison is made whichever secret fits."""
    return True in outcomes


def _raw(value: str) -> bytes:
    """The bytes that came: servers hand out headers decoded as Latin-1, whatever they were."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
