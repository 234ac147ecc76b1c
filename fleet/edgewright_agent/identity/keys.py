"""A device's key, its certificate requests and its certificates, as bytes. Pure but for the making of keys.

Called by ``files``. Imported only where a device enrolls: x509 takes its time.
"""

import hashlib
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edgewright_wire.canonical import DIGEST_PREFIX


def new_key() -> bytes:
    """Make an ECDSA P-256 key: PKCS #8, PEM, not encrypted."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key(key: bytes) -> bytes:
    """The public half of a key: SubjectPublicKeyInfo, DER.

    Raises:
        ValueError: The bytes are no ECDSA key on P-256.
    """
    return _public_bytes(_load(key).public_key())


def fingerprint(public: bytes) -> str:
    """Return the fingerprint of a public key: ``sha256:`` and its digest."""
    return DIGEST_PREFIX + hashlib.sha256(public).hexdigest()


def certificate_request(key: bytes, device: str) -> str:
    """Ask for a certificate: PKCS #10, PEM, signed by the key.

    Raises:
        ValueError: The bytes are no ECDSA key on P-256.
    """
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(_load(key), hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def public_key_of_request(request: str) -> bytes:
    """The public key that a certificate request is for: SubjectPublicKeyInfo, DER.

    Raises:
        ValueError: It is no certificate request.
    """
    return _public_bytes(x509.load_pem_x509_csr(request.encode()).public_key())


def read_certificate(chain: bytes, public: bytes, device: str) -> tuple[datetime, datetime]:
    """Read the first certificate of a chain, and check that it is this device's.

    Args:
        chain: PEM.
        public: The device's public key: SubjectPublicKeyInfo, DER.
        device: The device's id.

    Returns:
        From when and until when it holds.

    Raises:
        ValueError: It cannot be read, or is for another key or name.
    """
    first = x509.load_pem_x509_certificates(chain)[0]
    names = [str(name.value) for name in first.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if _public_bytes(first.public_key()) != public:
        raise ValueError("it is for another key than this device's")
    if names != [device]:
        raise ValueError(f"it is for {', '.join(names) or 'nobody'}, not for {device}")
    return first.not_valid_before_utc, first.not_valid_after_utc


def _load(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        loaded = load_pem_private_key(key, None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise ValueError("it is no ECDSA key on P-256")
    return loaded


def _public_bytes(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
