"""Verifies the signature of a request, and finds the device of the inventory that it claims to be.

Called by ``service``.
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
from edgewright_wire.names import is_device_id

OWN_ID = ("edgewright_id", "device")
"""Identity attributes that may hold the inventory's id; the first that is present is used."""
_SMALLEST_RSA = 2048
_LARGEST_RSA = 8192


class SignatureRejected(Exception):
    """A signature does not prove that the sender holds its key; the text is fit for the sender."""


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A device's key."""

    fingerprint: str
    """``sha256:`` and the digest of its SubjectPublicKeyInfo (DER)."""
    pem: str


def check_signature(pubkey: str, signature: str, body: bytes) -> DeviceKey:
    """Verify that the sender of a body holds a key, as Mender's client signs: RSA with PKCS #1 v1.5 or ECDSA, both over
    the SHA-256, or Ed25519.

    Args:
        pubkey: PEM.
        signature: Base64, the header ``X-MEN-Signature``.
        body: The exact bytes.

    Raises:
        SignatureRejected: The key cannot be used, or did not sign this body.
    """
    try:
        key = load_pem_public_key(pubkey.encode())
        signed = base64.b64decode(signature, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise SignatureRejected("X-MEN-Signature is not base64") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureRejected("pubkey is no public key in PEM") from None
    try:
        if isinstance(key, rsa.RSAPublicKey) and _SMALLEST_RSA <= key.key_size <= _LARGEST_RSA:
            key.verify(signed, body, PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signed, body, ec.ECDSA(SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signed, body)
        else:
            raise SignatureRejected(
                f"pubkey is neither RSA of {_SMALLEST_RSA} to {_LARGEST_RSA} bits, ECDSA nor Ed25519"
            )
    except InvalidSignature:
        raise SignatureRejected("X-MEN-Signature was not made of this body by pubkey") from None
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return DeviceKey(digest_bytes(der), key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def device_of(identity: Mapping[str, str], routes: Mapping[str, Route]) -> str:
    """Return the device that an identity claims to be; an operator accepts or rejects it.

    The attribute ``edgewright_id`` or ``device`` holds the inventory's id; else it is the one device of the inventory
    that has an attribute of the identity as a label, like ``mac``; else an id is made of the first attribute.
    """
    for name in OWN_ID:
        if is_device_id(identity.get(name, "")):
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
