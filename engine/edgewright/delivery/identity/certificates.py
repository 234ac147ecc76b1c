"""Certificates of the devices' authority: parses requests, issues certificates, and verifies those that devices show.

Called by ``enrollment``, by the server's agent API, and by ``edgewright devices server-certificate``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgewright.delivery.identity.credentials import SINCE, DevicesCA, key_usage
from edgewright_wire.names import LONGEST_ENROLLED_DEVICE_ID, is_device_id

LONGEST_REQUEST = 16 << 10
_EARLIER = timedelta(hours=1)
"""Certificates are valid from a little before they are issued: controllers' clocks differ."""
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A certificate request, signed by its key."""

    device: str
    fingerprint: str
    key: ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate, with its authority's."""

    chain: str
    """PEM."""
    serial: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class CertifiedDevice:
    """The device named by a valid certificate of the authority."""

    device: str
    fingerprint: str
    not_before: datetime
    not_after: datetime


class CertificateRejected(Exception):
    """A certificate is not accepted; the text says why."""


def parse_request(pem: str) -> CertificateRequest:
    """Parse a PKCS#10 request.

    Raises:
        ValueError: It is none, its signature is wrong, or it names no device; in words for its sender.
    """
    if len(pem) > LONGEST_REQUEST:
        raise ValueError(f"csr: longer than {LONGEST_REQUEST} characters")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        valid, key = request.is_signature_valid, request.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise ValueError("csr: is no PKCS#10 request in PEM") from error
    if not valid:
        raise ValueError("csr: its signature does not fit its key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("csr: the key must be ECDSA on P-256")
    return CertificateRequest(_named(request.subject), fingerprint_of(key), key)


def fingerprint_of(key: CertificatePublicKeyTypes) -> str:
    """Return the fingerprint of a public key: the sha256 of its SubjectPublicKeyInfo."""
    return f"sha256:{sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()}"


def issue_certificate(
    authority: DevicesCA, request: CertificateRequest, now: datetime, life: timedelta
) -> IssuedCertificate:
    """Issue a device's certificate, for a client of TLS."""
    until = min(now + life, authority.certificate.not_valid_after_utc)
    serial = x509.random_serial_number()
    names = [x509.NameAttribute(NameOID.COMMON_NAME, request.device)]
    certificate = _sign(
        authority,
        x509.Name(names),
        request.key,
        serial,
        (now - min(_EARLIER, life), until),
        ExtendedKeyUsageOID.CLIENT_AUTH,
    )
    return IssuedCertificate(certificate.public_bytes(Encoding.PEM).decode(), f"{serial:x}", until)


def issue_server_certificate(
    authority: DevicesCA, hosts: Sequence[str], now: datetime, life: timedelta
) -> tuple[str, bytes]:
    """Create a key and certify it for a server of these names and addresses; return the chain and the key, both PEM.

    Raises:
        ValueError: One is neither a host name nor an address.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([_host(host) for host in hosts])
    until = min(now + life, authority.certificate.not_valid_after_utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:LONGEST_ENROLLED_DEVICE_ID])])
    certificate = _sign(
        authority,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        (SINCE, until),
        ExtendedKeyUsageOID.SERVER_AUTH,
        names,
    )
    chain = certificate.public_bytes(Encoding.PEM) + authority.certificate_pem
    return chain.decode(), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def check_certificate(authority: DevicesCA, pem: str, now: datetime) -> CertifiedDevice:
    """Verify a certificate, and return the device it names.

    Raises:
        CertificateRejected: It is not of this authority, not for a device, or out of date.
    """
    shown = _verify(authority.certificate_pem, pem)
    if not shown.not_before <= now <= shown.not_after:
        raise CertificateRejected(f"the certificate is out of date: it ended {shown.not_after:%Y-%m-%d %H:%M} UTC")
    return shown


@lru_cache(maxsize=20_000)
def _verify(authority: bytes, pem: str) -> CertifiedDevice:
    """Verify a certificate's signature; cached, because every request of a connection shows the same certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        device = _named(certificate.subject)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise CertificateRejected("the certificate is not one that this server gives to devices") from error
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise CertificateRejected("the certificate is not for a device")
    fingerprint = fingerprint_of(certificate.public_key())
    return CertifiedDevice(device, fingerprint, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _named(subject: x509.Name) -> str:
    """Return the device that a subject names.

    Raises:
        ValueError: It names no valid device id.
    """
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or len(names[0].value) > LONGEST_ENROLLED_DEVICE_ID:
        raise ValueError("csr: its subject must have one common name, the device's id")
    name = names[0].value
    if not isinstance(name, str) or not is_device_id(name):
        raise ValueError("csr: its common name is not a device id")
    return name


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        if not _HOST.fullmatch(text):
            raise ValueError(f"{text!r} is neither a host's name nor an IP address") from None
        return x509.DNSName(text)


def _sign(
    authority: DevicesCA,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    life: tuple[datetime, datetime],
    purpose: x509.ObjectIdentifier,
    names: x509.SubjectAlternativeName | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder(authority.certificate.subject, subject, key, serial, *life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority.key, SHA256())
