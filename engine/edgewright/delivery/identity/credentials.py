"""Keys that devices trust besides the repository's: of bundles, of the devices' certificate authority, and of tokens.

They lie in the folder of the signing keys (``keys``), made once by ``edgewright init`` and never at run time:

========================================  ===========================================================================
bundles.pem, bundles.crt                  RSA 3072, self-signed: signs bundles for SWUpdate, RAUC and Mender
devices-ca.pem, devices-ca.crt            ECDSA P-256: the authority of agents' client certificates
mender-jwt.pem                            Ed25519: signs the tokens of devices with Mender's client
========================================  ===========================================================================

Private keys are PKCS#8, and only their owner may read them. Called by ``edgewright init``, ``delivery.bundles`` and
``wiring``.
"""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgewright import durable
from edgewright.errors import DeliveryError, DeliveryUnavailable

BUNDLES = "bundles"
DEVICES_CA = "devices-ca"
TOKENS = "mender-jwt"
_YEARS = timedelta(days=20 * 365)
SINCE = datetime(1970, 1, 1, tzinfo=UTC)
"""Certificates that devices check are valid from the first moment of their clocks, which may not be set yet."""


@dataclass(frozen=True, slots=True)
class BundleKeys:
    """Signs bundles."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    key_file: Path
    certificate_file: Path

    @property
    def certificate_pem(self) -> bytes:
        """The certificate that devices with SWUpdate or RAUC trust."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def public_pem(self) -> bytes:
        """The public key that devices with Mender's client trust."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class DevicesCA:
    """The authority that certifies devices."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    certificate_file: Path

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate, which verifies those of devices."""
        return self.certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """Signs devices' tokens (JWT, EdDSA)."""

    key: ed25519.Ed25519PrivateKey


def create_credentials(folder: Path, now: datetime | None = None) -> tuple[str, ...]:
    """Create the files that are missing; existing ones are never changed. Return the names of the new files.

    Raises:
        DeliveryError: An existing file of a pair cannot be used.
        DeliveryUnavailable, StorageFull: The folder cannot be written.
    """
    now = now or datetime.now(UTC)
    made: list[str] = []
    try:
        durable.make_folder(folder, mode=0o700)
        with _alone(folder):
            made += _make(folder, BUNDLES, _new_rsa, lambda: _bundle_certificate(_bundle_key(folder), now))
            made += _make(folder, DEVICES_CA, _new_ecdsa, lambda: _ca_certificate(_ca_key(folder), now))
            made += _make(folder, TOKENS, ed25519.Ed25519PrivateKey.generate)
    except OSError as error:
        raise DeliveryUnavailable(
            f"cannot write keys to {folder}: {error.strerror}", hint="make the folder writable, or name another one"
        ) from error
    return tuple(made)


def load_bundle_keys(folder: Path) -> BundleKeys:
    """Load the key that signs bundles.

    Raises:
        DeliveryError: It is not here, cannot be used, or others may read it.
    """
    key = _bundle_key(folder)
    certificate = _certificate(folder, BUNDLES, key.public_key())
    return BundleKeys(key, certificate, folder / f"{BUNDLES}.pem", folder / f"{BUNDLES}.crt")


def load_devices_ca(folder: Path) -> DevicesCA:
    """Load the authority of devices' certificates.

    Raises:
        DeliveryError: It is not here, cannot be used, or others may read it.
    """
    key = _ca_key(folder)
    return DevicesCA(key, _certificate(folder, DEVICES_CA, key.public_key()), folder / f"{DEVICES_CA}.crt")


def load_token_key(folder: Path) -> TokenKey:
    """Load the key that signs devices' tokens.

    Raises:
        DeliveryError: It is not here, cannot be used, or others may read it.
    """
    key = _private(folder / f"{TOKENS}.pem", "the key that signs devices' tokens")
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _foreign(folder / f"{TOKENS}.pem", "an Ed25519 key")
    return TokenKey(key)


# ── creation ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _make(
    folder: Path,
    name: str,
    generate: Callable[[], PrivateKeyTypes],
    certify: Callable[[], x509.Certificate] | None = None,
) -> Sequence[str]:
    """Make a key, then its certificate. A certificate without a key says that the key was moved away: make neither."""
    key_file, certificate_file = folder / f"{name}.pem", folder / f"{name}.crt"
    made = []
    if not key_file.exists() and not certificate_file.exists():
        durable.write_atomic(key_file, _private_pem(generate()), mode=0o600)
        made.append(key_file.name)
    if certify is not None and not certificate_file.exists():
        durable.write_atomic(certificate_file, certify().public_bytes(Encoding.PEM))
        made.append(certificate_file.name)
    return made


def _new_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 3072)


def _new_ecdsa() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _bundle_certificate(key: rsa.RSAPrivateKey, now: datetime) -> x509.Certificate:
    """Certify the key of bundles. SWUpdate and RAUC require e-mail protection, or code signing where configured so."""
    purposes = (ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.CODE_SIGNING)
    builder = (
        _self_signed("edgewright bundles", key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    return builder.sign(key, SHA256())


def _ca_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    builder = (
        _self_signed(f"edgewright devices {_short_name(key)}", key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(certifies=True), critical=True)
    )
    return builder.sign(key, SHA256())


def _short_name(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a short name of an authority, so that TLS can choose among those of several environments."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:12]


def _self_signed(name: str, public: CertificatePublicKeyTypes, now: datetime) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder(subject, subject, public, x509.random_serial_number())
        .not_valid_before(SINCE)
        .not_valid_after(now + _YEARS)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def key_usage(*, signs: bool = False, certifies: bool = False) -> x509.KeyUsage:
    """Build the key usage of a certificate: to sign, or to certify other keys."""
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=certifies,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the folder against other processes that make keys."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bundle_key(folder: Path) -> rsa.RSAPrivateKey:
    key = _private(folder / f"{BUNDLES}.pem", "the key that signs bundles")
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _foreign(folder / f"{BUNDLES}.pem", "an RSA key")
    return key


def _ca_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    key = _private(folder / f"{DEVICES_CA}.pem", "the authority of devices' certificates")
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _foreign(folder / f"{DEVICES_CA}.pem", "an ECDSA key")
    return key


def _private(path: Path, what: str) -> PrivateKeyTypes:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise DeliveryError(
                    f"the private key {path} may be read by others", hint=f"run: chmod 600 {path}; then try again"
                )
            return load_pem_private_key(file.read(), None)
    except FileNotFoundError:
        raise DeliveryError(
            f"{what} is not here: {path}",
            hint="edgewright init REPOSITORY --keys-only makes it, with the --state and --env that are used here; "
            "if it was made already, bring the file",
        ) from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no unencrypted PKCS#8 PEM file"
        raise DeliveryError(f"cannot read the private key {path}: {reason}", hint="bring the file again") from error


def _certificate(folder: Path, name: str, public: CertificatePublicKeyTypes) -> x509.Certificate:
    path = folder / f"{name}.crt"
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise DeliveryError(
            f"the certificate {path} is not here",
            hint="bring the file, or run edgewright init REPOSITORY --keys-only, which makes it again from its key",
        ) from None
    except (OSError, ValueError) as error:
        raise DeliveryError(f"cannot read the certificate {path}", hint="bring the file again, as PEM") from error
    if certificate.public_key() != public:
        raise DeliveryError(
            f"{path} does not belong to {path.with_suffix('.pem')}", hint="bring both files of the same making"
        )
    return certificate


def _foreign(path: Path, kind: str) -> DeliveryError:
    return DeliveryError(f"{path} is not {kind}", hint="bring the file edgewright made")
