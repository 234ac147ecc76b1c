"""Enrolls agents: accepts or queues their keys, and issues certificates. One for each environment.

Called by ``server.devices``; operators' decisions are in ``admission``. No state of record is kept in memory: several
controllers may serve the same devices.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edgewright.core.fleet.enrollment import IdentityStatus, Verdict, admitted_labels, decide
from edgewright.delivery.identity.admission import REFUSED_BECAUSE, DeviceRegistry
from edgewright.delivery.identity.certificates import (
    CertificateRequest,
    CertifiedDevice,
    issue_certificate,
    parse_request,
)
from edgewright.delivery.identity.credentials import DevicesCA
from edgewright.delivery.identity.tokens import EnrollmentTokens
from edgewright.ports import Identity, IdentityStore
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate, PendingEnrollment, Refusal, RenewalRequest
from edgewright_wire.messages import WireModel

SYSTEM = "agent"
LIFE = timedelta(days=7)
MAX_PENDING = 1_000
"""Keys that may wait for an operator; anybody may send one."""
_ASK_AGAIN = 60
_PENDING_KEPT = timedelta(days=7)
"""A pending key that has not asked for so long is forgotten when too many wait."""
_SEEN_INTERVAL = timedelta(minutes=10)
_COUNT_KEPT = 5.0
_MOST_LABELS, _LONGEST_LABEL = 64, 256

_MESSAGES = {
    Verdict.OTHER_KEY: "the device is known by another key; an operator has to approve this one",
    Verdict.OTHER_DEVICE: "this key belongs to another device",
    Verdict.REJECTED: "an operator rejected this key",
    Verdict.RETIRED: "this key is retired; no device may use it any more",
}


@dataclass(frozen=True, slots=True)
class EnrollmentOutcome:
    """The response to an enrollment request: HTTP status and body."""

    status: int
    said: WireModel
    retry_after: int = 0
    """Seconds; 0: no such header."""
    note: str = ""
    """For the log: the decision."""
    token: str = ""
    """For the log: why the request's token was not accepted."""


class Enrollment:
    """Enrolls devices.

    Args:
        store: Keeps keys.
        registry: Keeps the enrolled devices.
        authority: Loads the authority that certifies them.
        listed: Returns True if a device is in the inventory, where that is declared to be enough.
        clock: Gives aware UTC times.
        life: Lifetime of certificates.
    """

    def __init__(
        self,
        store: IdentityStore,
        registry: DeviceRegistry,
        authority: Callable[[], DevicesCA],
        listed: Callable[[str], bool],
        clock: Callable[[], datetime],
        *,
        life: timedelta = LIFE,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._store = store
        self._registry = registry
        self._authority = authority
        self._listed = listed
        self._clock = clock
        self._life = life
        self._max_pending = max_pending
        self.tokens = EnrollmentTokens(store)
        self._counting = threading.Lock()
        self._pending, self._counted = 0, -_COUNT_KEPT

    def enroll(self, asked: EnrollmentRequest, peer: str) -> EnrollmentOutcome:
        """Answer an enrollment request; idempotent.

        Raises:
            DeliveryError: The authority cannot be used.
            StateError, StateUnavailable, StorageFull: The store cannot be used.
        """
        try:
            request = parse_request(asked.csr)
            _check(asked, request)
        except ValueError as error:
            return EnrollmentOutcome(422, Refusal(error=str(error), reason="Malformed"))
        known = self._store.identity(SYSTEM, request.fingerprint)
        if known is not None and known.device != request.device:
            return _refused(Verdict.OTHER_DEVICE)
        if known is None and not self._is_vouched(asked, request) and self._is_full():
            return EnrollmentOutcome(
                503, Refusal(error="too many devices wait for an operator; come again later"), 10 * _ASK_AGAIN
            )
        return self._answer(asked, request, peer)

    def _is_vouched(self, asked: EnrollmentRequest, request: CertificateRequest) -> bool:
        """Return True if a device needs no operator: however many wait for one, it is none of them."""
        if self._listed(request.device):
            return True
        token = asked.token or ""
        return bool(token) and self.tokens.problem_for(token, request.fingerprint, self._clock()) is None

    def renew(self, asked: RenewalRequest, shown: CertifiedDevice) -> EnrollmentOutcome:
        """Renew a certificate for its holder.

        Raises:
            DeliveryError, StateError, StateUnavailable, StorageFull: As in enroll.
        """
        try:
            request = parse_request(asked.csr)
        except ValueError as error:
            return EnrollmentOutcome(422, Refusal(error=str(error), reason="Malformed"))
        if (request.device, request.fingerprint) != (shown.device, shown.fingerprint):
            return EnrollmentOutcome(
                422, Refusal(error="csr: renewing needs the key and the name of the certificate shown")
            )
        known = self._store.identity(SYSTEM, shown.fingerprint)
        if known is None or known.device != shown.device:
            return EnrollmentOutcome(401, Refusal(error="this key is not known here; enroll again"))
        verdict = decide(known.status, (), vouched=False)
        return (
            self._issue(request, "renewed") if verdict is Verdict.ISSUE else self._pending_or_refused(verdict, request)
        )

    def _answer(self, asked: EnrollmentRequest, request: CertificateRequest, peer: str) -> EnrollmentOutcome:
        now, token = self._clock(), asked.token
        problem = self.tokens.problem_for(token, request.fingerprint, now) if token else None
        by_token = bool(token) and problem is None
        vouched = self._listed(request.device) or by_token
        fresh = Identity(SYSTEM, request.device, request.fingerprint, IdentityStatus.PENDING, now, labels=asked.labels)
        verdict = Verdict.PENDING

        def work(keys: Sequence[Identity]) -> Iterator[Identity]:
            nonlocal verdict
            own = next((key for key in keys if key.key == request.fingerprint), None)
            others = [key.status for key in keys if key.key != request.fingerprint]
            verdict = decide(own.status if own is not None else None, others, vouched=vouched)
            if own is None or (own.status is IdentityStatus.PENDING and _needs_write(own, asked, problem, now)):
                detail = {
                    "peer": peer,
                    "seen": now.isoformat(),
                    "class": asked.device_class,
                    REFUSED_BECAUSE: problem,
                }
                yield replace(own or fresh, labels=asked.labels, detail={**(own.detail if own else {}), **detail})

        self._store.change(SYSTEM, request.device, work)
        if verdict is Verdict.ADMIT:
            return self._accept(asked, request, by_token=by_token)
        if verdict is Verdict.ISSUE:
            return self._issue(request, "issued")
        return self._pending_or_refused(verdict, request, problem)

    def _accept(self, asked: EnrollmentRequest, request: CertificateRequest, *, by_token: bool) -> EnrollmentOutcome:
        """Accept a device's first key. The device is enrolled first, so that a repeated request completes a crash.

        Labels that an operator enrolled it with count before the token's, and these before what the device says of
        itself; of that, only what the token allows is taken, since no operator looks at it.
        """
        labels: dict[str, str] = {}
        if by_token:
            token = self.tokens.redeem(asked.token or "", request.fingerprint, request.device, self._clock())
            if token is None:  # other devices have used it up meanwhile
                problem = self.tokens.problem_for(asked.token or "", request.fingerprint, self._clock())
                self._store.note(SYSTEM, request.fingerprint, {REFUSED_BECAUSE: problem})
                return self._pending_or_refused(Verdict.PENDING, request, problem)
            labels = admitted_labels(asked.labels, token.allowed) | dict(token.labels)
        labels |= self._registry.enrolled().get(request.device, {})
        self._registry.enroll({request.device: labels})
        left_out = sorted(name for name, value in asked.labels.items() if labels.get(name) != value)
        note = "admitted" + (f"; what it says of itself is not taken: {', '.join(left_out)}" if left_out else "")
        decided = self._accept_first(request)
        return self._issue(request, note) if decided else self._pending_or_refused(Verdict.PENDING, request)

    def _accept_first(self, request: CertificateRequest) -> bool:
        """Accept a key if no other key of the device was accepted meanwhile."""
        now, accepted = self._clock(), False

        def work(keys: Sequence[Identity]) -> Iterator[Identity]:
            nonlocal accepted
            others = [key.status for key in keys if key.key != request.fingerprint]
            for own in (key for key in keys if key.key == request.fingerprint):
                verdict = decide(own.status, others, vouched=True)
                accepted = verdict in {Verdict.ADMIT, Verdict.ISSUE}
                if verdict is Verdict.ADMIT:
                    yield replace(own, status=IdentityStatus.ACCEPTED, decided_at=now)

        self._store.change(SYSTEM, request.device, work)
        return accepted

    def _issue(self, request: CertificateRequest, note: str) -> EnrollmentOutcome:
        authority = self._authority()
        issued = issue_certificate(authority, request, self._clock(), self._life)
        detail = {"serial": issued.serial, "notAfter": issued.not_after.isoformat()}
        self._store.note(SYSTEM, request.fingerprint, detail)
        said = IssuedCertificate(
            certificate=issued.chain, ca=authority.certificate_pem.decode(), not_after=issued.not_after
        )
        return EnrollmentOutcome(200, said, note=note)

    def _pending_or_refused(
        self, verdict: Verdict, request: CertificateRequest, problem: str | None = None
    ) -> EnrollmentOutcome:
        """Answer a device that is not accepted; only operators see the problem of its token."""
        if verdict is not Verdict.PENDING:
            return replace(_refused(verdict), token=problem or "")
        said = PendingEnrollment(fingerprint=request.fingerprint, token_accepted=False if problem else None)
        return EnrollmentOutcome(202, said, _ASK_AGAIN, "pending", problem or "")

    def _is_full(self) -> bool:
        """Return True if too many keys wait; forgets those that have not asked for long first."""
        with self._counting:
            if time.monotonic() - self._counted >= _COUNT_KEPT:
                count = self._store.count(SYSTEM, IdentityStatus.PENDING)
                if count >= self._max_pending:
                    pending = self._store.identities(system=SYSTEM, status=IdentityStatus.PENDING)
                    before = self._clock() - _PENDING_KEPT
                    gone = [key.key for key in pending if _seen(key) < before]
                    self._store.forget(SYSTEM, gone)
                    count = len(pending) - len(gone)
                self._pending, self._counted = count, time.monotonic()
            self._pending += 1
            return self._pending > self._max_pending


def _check(asked: EnrollmentRequest, request: CertificateRequest) -> None:
    """Compare a request's fields with the signed certificate request.

    Raises:
        ValueError: They differ, or a field is too long; in words for the sender.
    """
    if request.device != asked.device:
        raise ValueError(f"csr: its common name is {request.device}, and the device says it is {asked.device}")
    if len(asked.labels) > _MOST_LABELS or any(
        len(text) > _LONGEST_LABEL for pair in asked.labels.items() for text in pair
    ):
        raise ValueError(f"labels: at most {_MOST_LABELS}, of at most {_LONGEST_LABEL} characters each")
    if len(asked.device_class) > _LONGEST_LABEL:
        raise ValueError(f"deviceClass: at most {_LONGEST_LABEL} characters")


def _needs_write(key: Identity, asked: EnrollmentRequest, problem: str | None, now: datetime) -> bool:
    """Return True if a repeated request changes something that is stored."""
    return (
        key.labels != asked.labels or key.detail.get(REFUSED_BECAUSE) != problem or now - _seen(key) >= _SEEN_INTERVAL
    )


def _seen(key: Identity) -> datetime:
    seen = key.detail.get("seen")
    return datetime.fromisoformat(seen) if isinstance(seen, str) else key.asked_at


def _refused(verdict: Verdict) -> EnrollmentOutcome:
    return EnrollmentOutcome(
        403, Refusal(error=_MESSAGES[verdict], reason=verdict.value), 10 * _ASK_AGAIN, verdict.value
    )
