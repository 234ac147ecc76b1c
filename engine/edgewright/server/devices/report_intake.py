"""Takes reports in: whatever comes while one transaction is written goes together into the next. Used by ``agent_app``.

A request is answered after its reports are durable, and who sent them is looked up with each transaction: a key that is
retired anywhere counts nowhere from the next one on.
"""

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from edgewright.core.fleet.presence import ReceivedReport
from edgewright.delivery.identity.certificates import CertifiedDevice
from edgewright.delivery.identity.enrollment import SYSTEM
from edgewright.errors import EdgewrightError
from edgewright.ports import Identity, IdentityStatus, IdentityStore, ReportInbox
from edgewright.server.request_log import logger
from edgewright_wire.messages import Report

MOST_WAITING = 20_000
"""Reports that wait to be written; more are sent away for a while."""
MOST_AT_ONCE = 1_000
"""Reports in one transaction."""
_WAKE_SECONDS = 0.5
"""Rollouts are told of news at most so often."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The outcome for a request's reports, as an HTTP status; 200: they are durable."""

    status: int
    error: str = ""
    reason: str = ""
    retry_after: int = 0


ACCEPTED = Taken(200)


def busy(error: str, least: int = 1) -> Taken:
    """Send a device away for a while, each for another one."""
    return Taken(503, error, retry_after=random.randint(least, 10 * least))  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class _Waiting:
    reports: Sequence[Report]
    caller: CertifiedDevice | None
    """None: whoever it is is believed."""
    done: asyncio.Future[Taken]


class Intake:
    """Writes one environment's reports, on a thread of its own.

    Args:
        inbox: Where they go.
        identities: Who is believed.
        wake: Told, now and then, that something has come; on the thread.
        clock: Gives the aware times at which reports arrive.
    """

    def __init__(
        self,
        inbox: ReportInbox,
        identities: IdentityStore,
        wake: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clock = clock
        self._inbox = inbox
        self._identities = identities
        self._wake = wake
        self._lock = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._reports = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._waker: threading.Timer | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what was taken, and take no more."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join()

    async def put(self, reports: Sequence[Report], caller: CertifiedDevice | None) -> Taken:
        """Write reports of one sender; returns when they are durable, or will not be."""
        done: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closing:
                return busy("the controller is being stopped; come again", 5)
            if self._reports + len(reports) > MOST_WAITING:
                return busy("too many reports are waiting to be written; come again later")
            self._reports += len(reports)
            self._waiting.append(_Waiting(reports, caller, done))
            self._lock.notify()
        return await done

    # ── on the thread ─────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while batch := self._next():
            answers = self._write(batch)
            loops = {each.done.get_loop() for each in batch}
            for loop in loops:
                mine = [(e.done, taken) for e, taken in zip(batch, answers, strict=True) if e.done.get_loop() is loop]
                with suppress(RuntimeError):  # its server has ended
                    loop.call_soon_threadsafe(_resolve, mine)
            if ACCEPTED in answers:
                self._wake_soon()
        if self._waker is not None:
            self._waker.join()

    def _next(self) -> Sequence[_Waiting]:
        """Wait for requests, and take as many as go into one transaction; none at the end of everything."""
        batch: list[_Waiting] = []
        with self._lock:
            self._lock.wait_for(lambda: self._waiting or self._closing)
            count = 0
            while self._waiting and (not batch or count + len(self._waiting[0].reports) <= MOST_AT_ONCE):
                batch.append(self._waiting.popleft())
                count += len(batch[-1].reports)
            self._reports -= count
        return batch

    def _write(self, batch: Sequence[_Waiting]) -> Sequence[Taken]:
        try:
            keys = {each.caller.fingerprint for each in batch if each.caller is not None}
            known = self._identities.known(SYSTEM, keys) if keys else {}
            answers = [_judged(each.caller, known) for each in batch]
            believed = [each for each, taken in zip(batch, answers, strict=True) if taken is ACCEPTED]
            now = self._clock()
            self._inbox.put([ReceivedReport.stamp(report, now) for each in believed for report in each.reports], now)
        except EdgewrightError as error:
            logger().warning("reports cannot be written", error=error.message, hint=error.hint or None)
            return [busy("the controller cannot write; come again later", 5)] * len(batch)
        except Exception as error:  # noqa: BLE001 - whatever a database says of what no check has foreseen
            if len(batch) > 1:  # what came together must not suffer together
                return [taken for each in batch for taken in self._write([each])]
            logger().error("a report could not be written", device=batch[0].reports[0].device, error=repr(error))
            return [Taken(500, "the report could not be written; see the controller's log")]
        return answers

    def _wake_soon(self) -> None:
        if self._waker is None or not self._waker.is_alive():
            self._waker = threading.Timer(_WAKE_SECONDS, self._wake)
            self._waker.daemon = True
            self._waker.start()


def _judged(caller: CertifiedDevice | None, known: Mapping[str, Identity]) -> Taken:
    if caller is None:
        return ACCEPTED
    identity = known.get(caller.fingerprint)
    if identity is None or identity.device != caller.device or identity.status is IdentityStatus.PENDING:
        return Taken(401, "this certificate's key is not known here; enroll again")
    if identity.status is not IdentityStatus.ACCEPTED:
        return Taken(403, "this device is retired", "Retired")
    return ACCEPTED


def _resolve(answers: Sequence[tuple[asyncio.Future[Taken], Taken]]) -> None:
    for done, taken in answers:
        if not done.done():
            done.set_result(taken)
