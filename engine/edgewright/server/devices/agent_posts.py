"""Handles what agents post: reports, and requests for certificates. Called by ``agent_app``."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.types import Receive, Scope, Send

from edgewright.delivery.identity.certificates import CertificateRejected, CertifiedDevice
from edgewright.delivery.identity.enrollment import EnrollmentOutcome
from edgewright.errors import EdgewrightError
from edgewright.server.devices.agent_answers import RawHeaders, send_json
from edgewright.server.devices.agent_service import AgentService
from edgewright.server.devices.peers import Peer, Peers
from edgewright.server.devices.report_bodies import Bodies, Refused, read_message, read_reports
from edgewright.server.devices.report_intake import ACCEPTED, busy
from edgewright.server.devices.strangers import BODY_BYTES, HELD_BYTES, Strangers, TooManyStrangers
from edgewright.server.request_log import logger
from edgewright_wire.enrollment import EnrollmentRequest, Refusal, RenewalRequest
from edgewright_wire.messages import Report, WireModel

T = TypeVar("T")
CALLS = frozenset({"reports", "enroll", "renew"})
_ENROLLERS = 4
_MOST_ENROLLING = 64
"""Devices that are enrolled at the same time; others come again."""
_SAID_AGAIN = 600.0
"""Seconds until the same refusal of the same peer is logged again."""
_MOST_SAID = 1_000
_INLINE_BYTES = 16 << 10
"""Bodies up to here are understood on the server's loop: a thread would take longer."""


class _Accepted(WireModel):
    """Reports are durable."""

    accepted: int


class Posts:
    """Handles the posts of all environments; ``peers`` authenticates their senders."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._bodies = Bodies()
        self._strange_bodies = Bodies(HELD_BYTES, BODY_BYTES, packed=False)
        self._strangers = Strangers(_MOST_ENROLLING)
        self._threads = ThreadPoolExecutor(_ENROLLERS, thread_name_prefix="enroll")
        self._said: dict[tuple[str, str], float] = {}

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False)

    async def answer(
        self,
        service: AgentService,
        path: str,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one of ``CALLS``."""
        peer = self._peers.peer(scope, headers)
        extra: RawHeaders = [(b"edgewright-poll", b"%d" % service.polls.poll)]
        try:
            if peer.refusal:
                raise Refused(403, peer.refusal)
            if path == "enroll":
                answer = await self._enroll(
                    service, peer, await self._strange_bodies.read(headers, receive, peer.address)
                )
            else:
                caller = _speaker(service, peer)  # before a body is taken in
                body = await self._bodies.read(headers, receive)
                call = self._reports if path == "reports" else self._renew
                answer = await call(service, peer, caller, body)
        except Refused as refused:
            answer = EnrollmentOutcome(
                refused.status, Refusal(error=refused.message), 5 if refused.status == 503 else 0
            )
            extra = [*extra, (b"connection", b"close")] if refused.status in {400, 401, 408, 413, 415} else extra
        except EdgewrightError as error:
            logger().error("an agent could not be answered", call=path, error=error.message, hint=error.hint or None)
            away = busy("the controller cannot do this now; see its log", 5)
            answer = EnrollmentOutcome(away.status, Refusal(error=away.error), away.retry_after)
        if answer.status >= 400 and answer.status != 503:
            self._say(service, peer, path, answer)
        if answer.retry_after:
            extra = [*extra, (b"retry-after", b"%d" % answer.retry_after)]
        await send_json(send, answer.status, answer.said.to_bytes(), extra)

    async def _reports(
        self, service: AgentService, peer: Peer, caller: CertifiedDevice | None, body: bytes
    ) -> EnrollmentOutcome:
        reports = read_reports(body) if len(body) <= _INLINE_BYTES else await asyncio.to_thread(read_reports, body)
        if caller is not None and (other := _other(reports, caller.device)) is not None:
            said = f"this certificate is {caller.device}'s, and the report is {other}'s"
            return EnrollmentOutcome(403, Refusal(error=said, reason="OtherDevice"))
        taken = await service.intake.put(reports, caller) if reports else ACCEPTED
        if taken is ACCEPTED:
            return EnrollmentOutcome(200, _Accepted(accepted=len(reports)))
        return EnrollmentOutcome(taken.status, Refusal(error=taken.error, reason=taken.reason), taken.retry_after)

    async def _enroll(self, service: AgentService, peer: Peer, body: bytes) -> EnrollmentOutcome:
        def work() -> tuple[str, EnrollmentOutcome]:
            asked = read_message(EnrollmentRequest, body)
            return asked.device, service.enrollment.enroll(asked, peer.address)

        device, outcome = await self._aside(peer, work)
        more = {"token": f"not accepted: {outcome.token}"} if outcome.token else {}
        logger().info("enrollment", device=device, outcome=outcome.note or str(outcome.status), **more)
        return outcome

    async def _renew(
        self, service: AgentService, peer: Peer, caller: CertifiedDevice | None, body: bytes
    ) -> EnrollmentOutcome:
        if caller is None:
            raise Refused(401, "renewing needs the present certificate")
        outcome = await self._aside(peer, lambda: service.enrollment.renew(read_message(RenewalRequest, body), caller))
        logger().info("renewal", device=caller.device, outcome=outcome.note or str(outcome.status))
        return outcome

    async def _aside(self, peer: Peer, work: Callable[[], T]) -> T:
        """Do what takes time on another thread, so many at once, of one address too."""
        try:
            with self._strangers.admit(peer.address):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TooManyStrangers:
            raise Refused(503, "too many devices are being enrolled; come again later") from None

    def _say(self, service: AgentService, peer: Peer, path: str, answer: EnrollmentOutcome) -> None:
        """Log a refusal; not again and again, for devices come again and again."""
        error = answer.said.error if isinstance(answer.said, Refusal) else ""
        key, now = (peer.address, error), time.monotonic()
        if now - self._said.get(key, -_SAID_AGAIN) < _SAID_AGAIN:
            return
        self._said.pop(key, None)
        self._said[key] = now
        while len(self._said) > _MOST_SAID:
            del self._said[next(iter(self._said))]
        logger().warning(
            "an agent was refused",
            environment=service.environment or None,
            call=path,
            peer=peer.address,
            status=answer.status,
            error=error,
        )


def _speaker(service: AgentService, peer: Peer) -> CertifiedDevice | None:
    """Authenticate the sender; None where senders are accepted without certificates.

    Raises:
        Refused: Nobody who is known.
        DeliveryError: The authority cannot be used.
    """
    if peer.believed:
        return None
    if peer.certificate is None:
        raise Refused(401, "no certificate was shown; enroll first")
    try:
        return service.caller(peer.certificate)
    except CertificateRejected as error:
        raise Refused(401, str(error)) from None


def _other(reports: Sequence[Report], device: str) -> str | None:
    return next((report.device for report in reports if report.device != device), None)
