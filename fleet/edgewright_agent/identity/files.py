"""The files a device proves itself with, in its directory. Called by ``enrollment_client`` and the command ``enroll``.

::

    identity/device.key      ECDSA P-256, made here, mode 0600; never leaves the device
    identity/device.crt      its certificate and those that lead to the authority
    identity/ca.crt          the authority
    identity/request.json    what is asked until there is a certificate; may hold a token, mode 0600
    identity/standing.json   how the server took it, for ``status``

What is damaged counts as lost: a certificate is asked for anew with the same key; a key is set aside and made anew,
which the server takes for another device until an operator says otherwise.
"""

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from edgewright_agent.durable import Disk
from edgewright_agent.errors import local_error
from edgewright_agent.identity.enrollment import Certificate, EnrollmentState
from edgewright_agent.identity.keys import (
    certificate_request,
    fingerprint,
    new_key,
    public_key,
    public_key_of_request,
    read_certificate,
)
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate

log = logging.getLogger(__name__)

IDENTITY = "identity"
KEY_FILE, CERTIFICATE_FILE, AUTHORITY_FILE = "device.key", "device.crt", "ca.crt"
REQUEST_FILE, STANDING_FILE = "request.json", "standing.json"
PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate to show. Two are equal when they are the same certificate."""

    certificate: Path
    key: Path
    digest: str
    """Of the certificate's bytes."""


class IdentityFiles:
    """The files of one device.

    Args:
        directory: The agent's.
        device: The device's id.
        disk: For durable writes.

    Raises:
        LocalError: The disk refuses; so do all methods.
    """

    def __init__(self, directory: Path, device: str, disk: Disk) -> None:
        self._directory = directory / IDENTITY
        self._device = device
        self._disk = disk
        self._seen: tuple[bytes, bytes] = (b"", b"")
        self._certificate: Certificate | None = None

    def ensure_key(self) -> bytes:
        """The device's key; made where there is none that can be used."""
        key = self._read(KEY_FILE)
        if _usable(key):
            return key
        if key:
            log.error("%s cannot be read; set aside, and a new key is made", self._directory / KEY_FILE)
            self._set_aside(KEY_FILE)
        key = new_key()
        self._write(KEY_FILE, key, PRIVATE)
        return key

    def fingerprint(self) -> str:
        """Return the fingerprint of the device's key; empty without a key."""
        key = self._read(KEY_FILE)
        return fingerprint(public_key(key)) if _usable(key) else ""

    def certificate(self) -> Certificate | None:
        """The certificate, if there is one of this device and its key."""
        key, chain = self._read(KEY_FILE), self._read(CERTIFICATE_FILE)
        if (key, chain) != self._seen:
            self._seen, self._certificate = (key, chain), self._judge(key, chain)
        return self._certificate

    def identity(self) -> Identity:
        """Return the files of the certificate and its key."""
        digest = hashlib.sha256(self._read(CERTIFICATE_FILE)).hexdigest()
        return Identity(self._directory / CERTIFICATE_FILE, self._directory / KEY_FILE, digest)

    def _judge(self, key: bytes, chain: bytes) -> Certificate | None:
        if not chain or not _usable(key):
            return None
        try:
            not_before, not_after = read_certificate(chain, public_key(key), self._device)
        except ValueError as error:
            log.error("%s cannot be used: %s; asking for another", self._directory / CERTIFICATE_FILE, error)
            return None
        standing = self.standing()
        return Certificate(not_before, not_after, standing.obtained_at if standing is not None else None)

    def signing_request(self) -> str:
        """A fresh certificate request by the device's key."""
        return certificate_request(self.ensure_key(), self._device)

    def bare_request(self) -> EnrollmentRequest:
        """A request that says nothing but the device's name; with a key that is made if there is none."""
        return EnrollmentRequest(device=self._device, csr=self.signing_request())

    def pending(self) -> EnrollmentRequest | None:
        """Return the pending request, if it was made with the present key."""
        try:
            request = EnrollmentRequest.from_bytes(self._read(REQUEST_FILE))
            fits = public_key_of_request(request.csr) == public_key(self._read(KEY_FILE))
        except (ValidationError, ValueError):
            return None
        return request if fits and request.device == self._device else None

    def keep_request(self, request: EnrollmentRequest) -> None:
        """Remember what is asked, until there is an answer."""
        self._write(REQUEST_FILE, request.to_bytes(), PRIVATE)

    def keep(self, issued: IssuedCertificate, now: datetime) -> Certificate:
        """Keep a certificate.

        Raises:
            ValueError: It is not for this device and its key; nothing changes.
        """
        chain = issued.certificate.encode()
        not_before, not_after = read_certificate(chain, public_key(self._read(KEY_FILE)), self._device)
        # The standing goes first: a certificate whose arrival is not known is judged by its dates alone.
        self.keep_standing(EnrollmentState(state="enrolled", since=now, obtained_at=now))
        self._write(AUTHORITY_FILE, issued.ca.encode())
        self._write(CERTIFICATE_FILE, chain)
        try:
            self._disk.unlink(self._directory / REQUEST_FILE)
        except OSError as error:
            raise local_error(error, "removing the enrollment's request") from error
        return Certificate(not_before, not_after, now)

    def standing(self) -> EnrollmentState | None:
        """State of the enrollment, as the server answered last."""
        try:
            return EnrollmentState.from_bytes(self._read(STANDING_FILE))
        except ValidationError:
            return None

    def keep_standing(self, standing: EnrollmentState) -> None:
        """Remember it; unchanged but for its time, the first time stays."""
        kept = self.standing()
        if kept is None or kept.model_copy(update={"since": standing.since}) != standing:
            self._write(STANDING_FILE, standing.to_bytes())

    def _read(self, name: str) -> bytes:
        try:
            return (self._directory / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            raise local_error(error, f"reading {self._directory / name}") from error

    def _write(self, name: str, data: bytes, mode: int | None = None) -> None:
        try:
            self._disk.make_directory(self._directory)
            self._disk.write(self._directory / name, data, mode)
        except OSError as error:
            raise local_error(error, f"writing {self._directory / name}") from error

    def _set_aside(self, name: str) -> None:
        try:
            self._disk.rename(self._directory / name, self._directory / f"{name}.unreadable")
        except OSError as error:
            raise local_error(error, f"setting {self._directory / name} aside") from error


def _usable(key: bytes) -> bool:
    try:
        public_key(key)
    except ValueError:
        return False
    return True
