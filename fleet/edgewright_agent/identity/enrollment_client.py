"""Enrollment and renewal of a device's certificate. Called by ``http_transport`` before each report, and by the command
``enroll``.

Nothing here runs by itself: a report that is due asks for the certificate to send it with, and that is when a device
enrolls, asks again or renews. While it must not report, the agent goes on with everything else.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from edgewright_agent.errors import CertificateRefused, NotEnrolled, TransportError
from edgewright_agent.http.answers import retry_after, said
from edgewright_agent.http.client import HttpClient
from edgewright_agent.identity.enrollment import (
    LOOK_AGAIN,
    EnrollmentState,
    EnrollmentStep,
    next_step,
    parse_enrollment_response,
    renewal_pause,
)
from edgewright_agent.identity.files import Identity, IdentityFiles
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate, PendingEnrollment, RenewalRequest

log = logging.getLogger(__name__)

LONGEST_ANSWER = 256 * 1024
PENDING, OTHER_KEY = "EnrollmentPending", "OtherKey"


class Identities(Protocol):
    """Knows what a device reports with."""

    def current(self) -> Identity | None:
        """The certificate to show; None to show none.

        Raises:
            NotEnrolled: There is none yet, or the device may not report.
            TransportError: There is none, and the server that gives one cannot be reached.
            LocalError: The disk refuses.
        """
        ...

    def refused(self, error: CertificateRefused | NotEnrolled) -> None:
        """Hear that a server did not take a report because of who sent it.

        Raises:
            LocalError: The disk refuses.
        """
        ...


class NoIdentities:
    """For a server that asks for no certificate: on this machine, or behind something that shows one."""

    def current(self) -> Identity | None:
        """None."""
        return None

    def refused(self, error: CertificateRefused | NotEnrolled) -> None:
        """There is nothing to be done about it here."""


class Enroller:
    """Keeps one device enrolled.

    Args:
        url: The server's base, to which ``/enroll`` and ``/renew`` are appended; empty where a certificate is brought
            by other means.
        files: The device's.
        connect: Makes a client that shows a certificate, or none.
        request: What agent.toml says of the device, given its certificate request.
        now: The wall clock, aware.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        files: IdentityFiles,
        connect: Callable[[Identity | None], HttpClient],
        request: Callable[[str], EnrollmentRequest],
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._url = url.rstrip("/")
        self._files = files
        self._connect = connect
        self._request = request
        self._now = now
        self._clock = clock
        self._refused: Identity | None = None
        self._shut_out: NotEnrolled | None = None
        self._shut_out_until = 0.0
        self._renew_from = 0.0
        self._renewals_failed = 0

    def current(self) -> Identity:
        """As in Identities; enrolls or renews first, where that is due."""
        if self._shut_out is not None and (left := self._shut_out_until - self._clock()) > 0:
            raise NotEnrolled(self._shut_out.reason, self._shut_out.message, left)
        certificate = self._files.certificate()
        refused = certificate is not None and self._refused == self._files.identity()
        match next_step(certificate, refused=refused or self._shut_out is not None, now=self._now()):
            case EnrollmentStep.ENROLL:
                self.enroll()
            case EnrollmentStep.RENEW if certificate is not None and self._clock() >= self._renew_from:
                self._try_to_renew(certificate.not_after)
            case _:
                pass
        return self._files.identity()

    def refused(self, error: CertificateRefused | NotEnrolled) -> None:
        """As in Identities."""
        if isinstance(error, NotEnrolled):
            self._shut_out_by(error)
        elif self._url and self._files.certificate() is not None:
            self._refused = self._files.identity()

    def say(self, labels: dict[str, str], token: str | None) -> None:
        """Store labels and a token given by hand, in place of those of agent.toml until the device is enrolled.

        Raises:
            LocalError: The disk refuses.
        """
        kept = self._kept()
        self._files.keep_request(
            kept.model_copy(update={"labels": {**kept.labels, **labels}, "token": token or kept.token})
        )

    def _kept(self) -> EnrollmentRequest:
        """Return the stored enrollment request; made where there is none."""
        kept = self._files.pending()
        if kept is None:
            kept = self._files.bare_request()
            self._files.keep_request(kept)
        return kept

    def enroll(self) -> None:
        """Ask for a certificate, once, and keep it.

        Raises:
            NotEnrolled: It is pending, or refused.
            TransportError: The server cannot be asked, or gives what is of no use.
            LocalError: The disk refuses.
        """
        if not self._url:
            raise NotEnrolled(
                "NotEnrolled",
                "this device has no certificate that is good now: set server in agent.toml, or bring one to identity/",
            )
        kept = self._kept()
        asked = self._request(kept.csr)
        said = {"labels": {**asked.labels, **kept.labels}, "token": kept.token or asked.token}
        self._keep(self._ask("enroll", asked.model_copy(update=said).to_bytes(), None))

    def _try_to_renew(self, not_after: datetime) -> None:
        """Renew; the present certificate is good for a while where that fails."""
        try:
            body = RenewalRequest(csr=self._files.signing_request()).to_bytes()
            self._keep(self._ask("renew", body, self._files.identity()))
        except NotEnrolled:
            raise
        except CertificateRefused:
            self._refused = self._files.identity()
            self.enroll()
        except TransportError as error:
            self._renewals_failed += 1
            pause = renewal_pause(self._renewals_failed, not_after - self._now())
            self._renew_from = self._clock() + pause
            log.warning(
                "the certificate ends %s and could not be renewed: %s (again in %.0f s)",
                f"{not_after:%Y-%m-%d %H:%M} UTC",
                error.message,
                pause,
            )

    def _ask(self, what: str, body: bytes, identity: Identity | None) -> IssuedCertificate:
        url = f"{self._url}/{what}"
        client = self._connect(identity)
        try:
            answer = client.post(url, body, {"Content-Type": "application/json"})
            text = answer.body(LONGEST_ANSWER)
        finally:
            client.close()
        wait = retry_after(answer.headers, self._now())
        meaning = parse_enrollment_response(url, answer.status, text, said(text), wait)
        if isinstance(meaning, IssuedCertificate):
            return meaning
        own = self._files.fingerprint()
        if isinstance(meaning, PendingEnrollment):
            if meaning.fingerprint != own:
                log.error("%s speaks of key %s, but this device's is %s", url, meaning.fingerprint, own)
            waits = f"waits for an operator to approve key {own}"
            if meaning.token_accepted is False:
                waits = f"the token was not accepted; {waits}, or for another token (enroll --token-file)"
            meaning = NotEnrolled(PENDING, f"{url}: {waits}", wait)
        elif meaning.reason == OTHER_KEY:
            meaning = NotEnrolled(OTHER_KEY, f"{meaning.message}: {own}", meaning.retry_after)
        if isinstance(meaning, NotEnrolled):
            self._shut_out_by(meaning)
        raise meaning

    def _shut_out_by(self, error: NotEnrolled) -> None:
        state = "pending" if error.reason == PENDING else error.reason
        fingerprint = self._files.fingerprint()
        kept = self._files.standing()
        self._files.keep_standing(
            EnrollmentState(
                state=state,
                since=self._now(),
                message=error.message,
                fingerprint=fingerprint,
                obtained_at=kept.obtained_at if kept is not None else None,
            )
        )
        if error.reason in LOOK_AGAIN:
            self._shut_out, self._shut_out_until = error, self._clock() + error.retry_after

    def _keep(self, issued: IssuedCertificate) -> None:
        try:
            certificate = self._files.keep(issued, self._now())
        except ValueError as error:
            message = f"{self._url}: gave a certificate that is of no use here: {error}"
            raise TransportError("CertificateUnusable", message) from error
        self._refused = self._shut_out = None
        self._renewals_failed = 0
        log.info("enrolled: the certificate is good until %s UTC", f"{certificate.not_after:%Y-%m-%d %H:%M}")
        if not certificate.dated:
            log.warning("the certificate seems not valid now; is this device's clock right?")
