"""Messages between a device and a server until the device has a certificate, version 1.

The certificate request's signature proves that the device holds the key; its common name is the device's id. Asking
again with the same body is harmless, and how a device waits for an operator.
"""

from typing import Literal

from pydantic import AwareDatetime, Field

from edgewright_wire.messages import WireModel
from edgewright_wire.names import DeviceId


class EnrollmentRequest(WireModel):
    """A device asks to be known."""

    device: DeviceId
    labels: dict[str, str] = Field(default_factory=dict)
    device_class: str = ""
    csr: str
    """PKCS #10, PEM."""
    token: str | None = Field(default=None, repr=False)
    """What lets a device in without an operator."""


class RenewalRequest(WireModel):
    """A device asks for a new certificate, with the present one."""

    csr: str


class PendingEnrollment(WireModel):
    """Answer to a request that an operator has not decided yet."""

    status: Literal["pending"] = "pending"
    fingerprint: str
    """``sha256:`` and the digest of the key's SubjectPublicKeyInfo (DER): what an operator compares."""
    token_accepted: bool | None = None
    """False where a token came that lets nobody in, for whatever reason; older servers say nothing."""


class IssuedCertificate(WireModel):
    """The device is known from now on."""

    certificate: str
    """The device's and those that lead to the authority, PEM."""
    ca: str
    """The authority, PEM."""
    not_after: AwareDatetime


class Refusal(WireModel):
    """The server will not."""

    error: str = ""
    reason: str = ""
    """Rejected, Retired, OtherKey, OtherDevice, …"""
