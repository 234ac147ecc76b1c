"""Decisions on enrollment and renewal, and parsing of the server's responses. Pure.

The device's clock may be wrong, by hours or by decades: a certificate that seems not valid yet, or that was out of
date when it came, says more about the clock than about itself. The server, whose clock counts, refuses what is old.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, ValidationError

from edgewright_agent.errors import CertificateRefused, NotEnrolled, TransportError
from edgewright_agent.http.answers import BUSY
from edgewright_wire.enrollment import IssuedCertificate, PendingEnrollment
from edgewright_wire.messages import WireModel

RENEW_AFTER = 2 / 3
"""Of the life that a certificate has when it comes: servers date them back a little."""
FRESH = 0.9
"""A certificate of which less than the rest is left when it comes seems to be from another time."""
LOOK_AGAIN = {"Retired": 86400.0, "Rejected": 3600.0, "OtherKey": 60.0}
"""Seconds until a device that was refused asks again, in case somebody changed their mind."""

_FIRST_RENEWAL_PAUSE, _LONGEST_RENEWAL_PAUSE = 60.0, 3600.0
_ADVICE = {
    "Retired": "this device is retired: it reports no more, and goes on serving what it has",
    "Rejected": "an operator rejected this device",
    "OtherKey": "this device is known by another key; an operator has to approve the one it has now",
}


class EnrollmentStep(StrEnum):
    """Step that is due before the next report."""

    REPORT = "report"
    RENEW = "renew"
    ENROLL = "enroll"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Validity of a device's certificate, and the time it was obtained."""

    not_before: datetime
    not_after: datetime
    obtained_at: datetime | None = None
    """When it was stored, by this device's clock."""

    @property
    def dated(self) -> bool:
        """True if it was valid when it was obtained, by this device's clock; else that clock is wrong."""
        latest = self.not_before + (self.not_after - self.not_before) * FRESH
        return self.obtained_at is None or self.not_before <= self.obtained_at <= latest

    @property
    def renew_at(self) -> datetime:
        """Time of the renewal, by this device's clock."""
        life = self.not_after - self.not_before
        if self.obtained_at is None:
            return self.not_before + life * RENEW_AFTER
        left = self.not_after - self.obtained_at if self.dated else life
        return self.obtained_at + left * RENEW_AFTER


class EnrollmentState(WireModel):
    """State of the enrollment, as the server answered last."""

    state: str
    """enrolled, pending, or the reason of a refusal."""
    since: AwareDatetime
    message: str = ""
    fingerprint: str = ""
    obtained_at: AwareDatetime | None = None
    """When the present certificate came, by this device's clock."""


def next_step(certificate: Certificate | None, *, refused: bool, now: datetime) -> EnrollmentStep:
    """Choose.

    Args:
        certificate: The device's; None without one that is for this device and its key.
        refused: Whether a server has refused it since it came.
        now: The device's wall clock.
    """
    if certificate is None or refused or (certificate.dated and now >= certificate.not_after):
        return EnrollmentStep.ENROLL
    return EnrollmentStep.RENEW if now >= certificate.renew_at else EnrollmentStep.REPORT


def renewal_pause(failures: int, left: timedelta) -> float:
    """Seconds until a failed renewal is tried again: more and more, but several times before the certificate ends."""
    backoff = min(_LONGEST_RENEWAL_PAUSE, _FIRST_RENEWAL_PAUSE * 2.0 ** min(failures - 1, 10))
    return max(1.0, min(backoff, left.total_seconds() / 10)) if left > timedelta(0) else _FIRST_RENEWAL_PAUSE


def parse_enrollment_response(
    url: str, status: int, body: bytes, said: str, wait: float
) -> IssuedCertificate | PendingEnrollment | TransportError:
    """Read an answer to an enrollment or a renewal.

    Args:
        url: Who answered.
        status: HTTP's.
        body: The whole body.
        said: The body in one line.
        wait: Seconds the server asks to wait.
    """
    try:
        if status == 200:
            return IssuedCertificate.from_bytes(body)
        if status == 202:
            return PendingEnrollment.from_bytes(body)
    except ValidationError:
        message = f"{url}: answered {status}, but not as edgewright's server does ({said}); is the URL right?"
        return TransportError("ServerUnreachable", message, wait)
    reason = _reason(body)
    if status == 403 and reason in LOOK_AGAIN:
        return NotEnrolled(reason, f"{url}: {_ADVICE[reason]}", max(wait, LOOK_AGAIN[reason]))
    return _trouble(url, status, said, wait, "ServerUnreachable")


def report_error(url: str, status: int, body: bytes, said: str, wait: float) -> TransportError | None:
    """Return why a report was refused; None when it was accepted. Arguments as in ``parse_enrollment_response``."""
    if 200 <= status < 300:
        return None
    reason = _reason(body)
    if status == 403 and reason == "Retired":
        return NotEnrolled(reason, f"{url}: {_ADVICE[reason]}", max(wait, LOOK_AGAIN[reason]))
    if status == 403 and reason == "OtherDevice":
        return CertificateRefused(reason, f"{url}: this device's certificate is for another device: {said}", wait)
    if status == 413:
        return TransportError("ReportTooLarge", f"{url}: takes no report as long as this one: {said}", wait)
    if status == 422:
        return TransportError(
            "ReportRefused", f"{url}: cannot read the report: {said}; which versions are these?", wait
        )
    return _trouble(url, status, said, wait, "ReportsUnreachable")


def _trouble(url: str, status: int, said: str, wait: float, reason: str) -> TransportError:
    more = f": {said}" if said else ""
    if status in BUSY:
        return TransportError("ServerBusy", f"{url}: the server is busy (HTTP {status}{more})", wait)
    if status == 401:
        return CertificateRefused(
            "CertificateRefused", f"{url}: the server knows no valid certificate of this device{more}", wait
        )
    if status == 404:
        return TransportError(reason, f"{url}: there is no such page; is server in agent.toml right?", wait)
    return TransportError(reason, f"{url}: answered with HTTP {status}{more}", wait)


def _reason(body: bytes) -> str:
    try:
        parsed = json.loads(body)
    except ValueError:
        return ""
    return str(parsed.get("reason", "")) if isinstance(parsed, dict) else ""
