"""Whose key signed a request, which of the inventory's devices that says it is, and an operator's answer to that.

Called by ``desk``.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from edgewright.core.fleet.routes import Route
from edgewright_wire.canonical import digest_bytes

OWN_ID = ("edgewright_id", "device")
"""Identity attributes that hold an inventory's id, the first that is there."""
_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_SMALLEST_RSA = 2048
_LARGEST_RSA = 8192


class NotSigned(Exception):
    """Nobody has shown that the key is theirs; the text is fit for the sender."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A device's key."""

    fingerprint: str
    """``sha256:`` and the digest of its SubjectPublicKeyInfo (DER)."""
    pem: str


def check_signature(pubkey: str, signature: str, body: bytes) -> PublicKey:
    """Check that whoever sent a body holds a key, as Mender's client signs: RSA with PKCS #1 v1.5 or ECDSA, both over
    the SHA-256, or Ed25519.

    Args:
        pubkey: PEM.
        signature: Base64, the header ``X-MEN-Signature``.
        body: The exact bytes.

    Raises:
        NotSigned: The key is none, or did not sign this.
    """
    try:
        key = load_pem_public_key(pubkey.encode())
        signed = base64.b64decode(signature, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise NotSigned("X-MEN-Signature is not base64") from None
    except (ValueError, UnsupportedAlgorithm):
        raise NotSigned("pubkey is no public key in PEM") from None
    try:
        if isinstance(key, rsa.RSAPublicKey) and _SMALLEST_RSA <= key.key_size <= _LARGEST_RSA:
            key.verify(signed, body, PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signed, body, ec.ECDSA(SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signed, body)
        else:
            raise NotSigned(f"pubkey is neither RSA of {_SMALLEST_RSA} to {_LARGEST_RSA} bits, ECDSA nor Ed25519")
    except InvalidSignature:
        raise NotSigned("X-MEN-Signature was not made of this body by pubkey") from None
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(digest_bytes(der), key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def device_of(identity: Mapping[str, str], routes: Mapping[str, Route]) -> str:
    """Say which device an identity claims to be; an operator believes it or not.

    The attribute ``edgewright_id`` or ``device`` holds the inventory's id; else the one device of the inventory counts
    that has an attribute of the identity as a label, like ``mac``; else an id is made of the first attribute.
    """
    for name in OWN_ID:
        if _ID.fullmatch(identity.get(name, "")):
            return identity[name]
    labelled = [
        device
        for device, route in routes.items()
        if any(value and route.device.labels.get(name) == value for name, value in identity.items())
    ]
    if len(labelled) == 1:
        return labelled[0]
    first = re.sub(r"[^A-Za-z0-9]+", "-", next(iter(identity.values()), "")).strip("-")[:128].strip("-")
    return first or "unknown"
