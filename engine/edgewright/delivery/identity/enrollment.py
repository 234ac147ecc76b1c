"""Who agents are: keys that ask, keys that are believed, and the certificates they get. One for each environment.

Called by the server's agent API; what operators decide is in ``admitting``. Nothing is kept in memory that counts:
several controllers may serve the same devices.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edgewright.core.fleet.enrollment import IdentityStatus, Verdict, judge
from edgewright.delivery.identity.admission import NOT_ACCEPTED, Registry
from edgewright.delivery.identity.certificates import (
    CertificateRequest,
    CertifiedDevice,
    issue_certificate,
    parse_request,
)
from edgewright.delivery.identity.credentials import DevicesCA
from edgewright.delivery.identity.tokens import Tokens
from edgewright.ports import Identity, IdentityStore
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate, PendingEnrollment, Refusal, RenewalRequest
from edgewright_wire.messages import WireModel

SYSTEM = "agent"
LIFE = timedelta(days=7)
MOST_PENDING = 1_000
"""Keys that may wait for an operator; anybody may ask."""
_ASK_AGAIN = 60
_FORGOTTEN_AFTER = timedelta(days=7)
"""A pending key that asks no more makes place for others."""
_SEEN_EVERY = timedelta(minutes=10)
_COUNTED_FOR = 5.0
_MOST_LABELS, _LONGEST_LABEL = 64, 256

_WORDS = {
    Verdict.OTHER_KEY: "the device is known by another key; an operator has to approve this one",
    Verdict.OTHER_DEVICE: "this key belongs to another device",
    Verdict.REJECTED: "an operator rejected this key",
    Verdict.RETIRED: "this key is retired; it speaks for no device any more",
}


@dataclass(frozen=True, slots=True)
class EnrollmentOutcome:
    """An answer, as HTTP's status and what to say."""

    status: int
    said: WireModel
    retry_after: int = 0
    """Seconds; 0: nothing is said of it."""
    note: str = ""
    """For the log: what was decided."""
    token: str = ""
    """For the log: why the token that came was not accepted."""


class Enrollment:
    """Enrolls devices.

    Args:
        store: Keeps keys.
        registry: Keeps which devices there are.
        authority: Reads what certifies them.
        listed: Whether the inventory lets a device in, where that is declared to be enough.
        clock: Gives aware UTC times.
        life: How long certificates hold.
    """

    def __init__(
        self,
        store: IdentityStore,
        registry: Registry,
        authority: Callable[[], DevicesCA],
        listed: Callable[[str], bool],
        clock: Callable[[], datetime],
        *,
        life: timedelta = LIFE,
        most_pending: int = MOST_PENDING,
    ) -> None:
        self._store = store
        self._registry = registry
        self._authority = authority
        self._listed = listed
        self._clock = clock
        self._life = life
        self._most_pending = most_pending
        self.tokens = Tokens(store)
        self._counting = threading.Lock()
        self._pending, self._counted = 0, -_COUNTED_FOR

    def enroll(self, asked: EnrollmentRequest, peer: str) -> EnrollmentOutcome:
        """Answer a device that asks to be known; asking again with the same is harmless.

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
        if known is None and self._is_full():
            return EnrollmentOutcome(
                503, Refusal(error="too many devices wait for an operator; come again later"), 10 * _ASK_AGAIN
            )
        return self._answer(asked, request, peer)

    def renew(self, asked: RenewalRequest, speaker: CertifiedDevice) -> EnrollmentOutcome:
        """Give the holder of a certificate the next one.

        Raises:
            DeliveryError, StateError, StateUnavailable, StorageFull: As in enroll.
        """
        try:
            request = parse_request(asked.csr)
        except ValueError as error:
            return EnrollmentOutcome(422, Refusal(error=str(error), reason="Malformed"))
        if (request.device, request.fingerprint) != (speaker.device, speaker.fingerprint):
            return EnrollmentOutcome(
                422, Refusal(error="csr: renewing needs the key and the name of the certificate shown")
            )
        known = self._store.identity(SYSTEM, speaker.fingerprint)
        if known is None or known.device != speaker.device:
            return EnrollmentOutcome(401, Refusal(error="this key is not known here; enroll again"))
        verdict = judge(known.standing, (), vouched=False)
        return self._issue(request, "renewed") if verdict is Verdict.ISSUE else self._wait_or_refuse(verdict, request)

    def _answer(self, asked: EnrollmentRequest, request: CertificateRequest, peer: str) -> EnrollmentOutcome:
        now, token = self._clock(), asked.token
        problem = self.tokens.refusal(token, request.fingerprint, now) if token else None
        by_token = bool(token) and problem is None
        vouched = self._listed(request.device) or by_token
        fresh = Identity(SYSTEM, request.device, request.fingerprint, IdentityStatus.PENDING, now, labels=asked.labels)
        verdict = Verdict.PENDING

        def work(keys: Sequence[Identity]) -> Iterator[Identity]:
            nonlocal verdict
            own = next((key for key in keys if key.key == request.fingerprint), None)
            others = [key.standing for key in keys if key.key != request.fingerprint]
            verdict = judge(own.standing if own is not None else None, others, vouched=vouched)
            if own is None or (own.standing is IdentityStatus.PENDING and _is_news(own, asked, problem, now)):
                detail = {
                    "peer": peer,
                    "seen": now.isoformat(),
                    "class": asked.device_class,
                    NOT_ACCEPTED: problem,
                }
                yield replace(own or fresh, labels=asked.labels, detail={**(own.detail if own else {}), **detail})

        self._store.change(SYSTEM, request.device, work)
        if verdict is Verdict.ADMIT:
            return self._admit(asked, request, by_token=by_token)
        if verdict is Verdict.ISSUE:
            return self._issue(request, "issued")
        return self._wait_or_refuse(verdict, request, problem)

    def _admit(self, asked: EnrollmentRequest, request: CertificateRequest, *, by_token: bool) -> EnrollmentOutcome:
        """Believe a device's first key. It is enrolled before it is believed: what a crash leaves is done again."""
        labels = dict(asked.labels)
        if by_token:
            token = self.tokens.use(asked.token or "", request.fingerprint, request.device, self._clock())
            if token is None:  # others were quicker
                problem = self.tokens.refusal(asked.token or "", request.fingerprint, self._clock())
                self._store.note(SYSTEM, request.fingerprint, {NOT_ACCEPTED: problem})
                return self._wait_or_refuse(Verdict.PENDING, request, problem)
            labels |= token.labels
        self._registry.enroll({request.device: labels})
        decided = self._accept_first(request)
        return self._issue(request, "admitted") if decided else self._wait_or_refuse(Verdict.PENDING, request)

    def _accept_first(self, request: CertificateRequest) -> bool:
        """Accept a key if it still is the device's only one that counts."""
        now, accepted = self._clock(), False

        def work(keys: Sequence[Identity]) -> Iterator[Identity]:
            nonlocal accepted
            others = [key.standing for key in keys if key.key != request.fingerprint]
            for own in (key for key in keys if key.key == request.fingerprint):
                verdict = judge(own.standing, others, vouched=True)
                accepted = verdict in {Verdict.ADMIT, Verdict.ISSUE}
                if verdict is Verdict.ADMIT:
                    yield replace(own, standing=IdentityStatus.ACCEPTED, decided_at=now)

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

    def _wait_or_refuse(
        self, verdict: Verdict, request: CertificateRequest, problem: str | None = None
    ) -> EnrollmentOutcome:
        """Answer a device that is not let in; what is wrong with its token is told to operators alone."""
        if verdict is not Verdict.PENDING:
            return replace(_refused(verdict), token=problem or "")
        said = PendingEnrollment(fingerprint=request.fingerprint, token_accepted=False if problem else None)
        return EnrollmentOutcome(202, said, _ASK_AGAIN, "pending", problem or "")

    def _is_full(self) -> bool:
        """Whether too many wait; those that ask no more are forgotten first."""
        with self._counting:
            if time.monotonic() - self._counted >= _COUNTED_FOR:
                pending = self._store.identities(system=SYSTEM, standing=IdentityStatus.PENDING)
                if len(pending) >= self._most_pending:
                    before = self._clock() - _FORGOTTEN_AFTER
                    gone = [key.key for key in pending if _seen(key) < before]
                    self._store.forget(SYSTEM, gone)
                    pending = [key for key in pending if key.key not in set(gone)]
                self._pending, self._counted = len(pending), time.monotonic()
            self._pending += 1
            return self._pending > self._most_pending


def _check(asked: EnrollmentRequest, request: CertificateRequest) -> None:
    """Compare what is asked with what the key has signed.

    Raises:
        ValueError: They differ, or something is out of bounds; in words for the sender.
    """
    if request.device != asked.device:
        raise ValueError(f"csr: its common name is {request.device}, and the device says it is {asked.device}")
    if len(asked.labels) > _MOST_LABELS or any(
        len(text) > _LONGEST_LABEL for pair in asked.labels.items() for text in pair
    ):
        raise ValueError(f"labels: at most {_MOST_LABELS}, of at most {_LONGEST_LABEL} characters each")
    if len(asked.device_class) > _LONGEST_LABEL:
        raise ValueError(f"deviceClass: at most {_LONGEST_LABEL} characters")


def _is_news(key: Identity, asked: EnrollmentRequest, problem: str | None, now: datetime) -> bool:
    """Whether asking again is worth a write."""
    return key.labels != asked.labels or key.detail.get(NOT_ACCEPTED) != problem or now - _seen(key) >= _SEEN_EVERY


def _seen(key: Identity) -> datetime:
    seen = key.detail.get("seen")
    return datetime.fromisoformat(seen) if isinstance(seen, str) else key.asked_at


def _refused(verdict: Verdict) -> EnrollmentOutcome:
    return EnrollmentOutcome(403, Refusal(error=_WORDS[verdict], reason=verdict.value), 10 * _ASK_AGAIN, verdict.value)
