"""The worker of one server: makes passes, waits between them, and records on twins why the server cannot be used.

It keeps no truth of its own, so a pass that fails, or ends with the process, is simply made again. Failures are waited
out for the server as a whole, not for each device. Made by ``driver``.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.relayed.errors import Busy, Refused
from edgewright.delivery.relayed.twin_writes import SERVER, TwinWrites, dropped
from edgewright.errors import DeliveryError, DeliveryUnavailable, EdgewrightError
from edgewright.ports import TwinStore
from edgewright_schemas.delivery import Delivery

log = logging.getLogger(__name__)

_SERVER_REASONS = frozenset(
    {"Unreachable", "AuthenticationFailed", "Forbidden", "Redirected", "ServerRefused", "SecretMissing"}
)
"""Reasons that a server cannot be used for any device."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Polling intervals for a server, in seconds."""

    under_way: float = 5.0
    """While something is under way; it grows from there as long as there is no news."""
    at_most: float = 30.0
    at_rest: float = 60.0
    """When nothing is."""
    backoff: float = 2.0
    """After the first pass that failed; it doubles."""
    longest: float = 300.0
    silence: float = 120.0
    """Devices of a server that has not answered for so long are said to be out of reach."""


class Sync(Protocol):
    """Synchronises twins with one server."""

    def step(self, routes: Mapping[str, Route], devices: Sequence[Twin]) -> None:
        """Make one pass.

        Args:
            routes: Devices that fleets reach through this server.
            devices: Their twins, as far as there are any, and of devices that were reached through it before.

        Raises:
            EdgewrightError: The server cannot be used, as far as that concerns every device.
        """
        ...

    def close(self) -> None:
        """End its connections."""
        ...


class Worker:
    """Works on one server.

    Args:
        server: Its name, with the account there.
        store: Keeps the twins.
        system: As in ``delivery.type``.
        find: Gives the routes of every device, and those of this server.
        connect: Opens its sync; nothing is sent yet.
        clock: Gives aware UTC times.
        pace: Polling intervals.
    """

    def __init__(
        self,
        server: str,
        store: TwinStore,
        system: str,
        find: Callable[[str], tuple[Mapping[str, Route], Mapping[str, Route]]],
        connect: Callable[[Delivery, TwinWrites], Sync],
        clock: Callable[[], datetime],
        pace: Pace,
    ) -> None:
        self.server = server
        self._store = store
        self._system = system
        self._find = find
        self._connect = connect
        self._clock = clock
        self._pace = pace
        self._writes = TwinWrites(store, system)
        self._sync: Sync | None = None
        self._wakeup = threading.Event()
        self._failures = 0
        self._failing_since = 0.0
        self._quiet = 0
        self._last_message = ""

    def wake(self) -> None:
        """Start the next pass at once, unless backing off after a failure."""
        self._wakeup.set()

    def close(self) -> None:
        """End its connections."""
        if self._sync is not None:
            self._sync.close()
            self._sync = None

    def run(self, stop: threading.Event, wake: Callable[[], None]) -> None:
        """Make passes until ``stop`` is set; call ``wake`` after news."""
        while not stop.is_set():
            self._wakeup.clear()
            try:
                busy = self.make_pass()
                wait = self._rest(busy)
            except EdgewrightError as error:
                wait = self._back_off(error)
            except Exception as error:
                log.exception("%s: synchronization failed", self.server)
                wait = self._back_off(DeliveryError(f"a pass over {self.server} failed: {type(error).__name__}"))
            if self._writes.news:
                wake()
            self._wait(wait, stop)
        self.close()

    def make_pass(self) -> bool:
        """Make one pass; return whether a job is under way.

        Raises:
            EdgewrightError: The server cannot be used now.
        """
        every, routes = self._find(self.server)
        self._writes.start(routes.keys())
        devices = self._twins(every, routes)
        if not routes:
            self._drop_all(devices)
            return False
        if self._take_over(routes, devices):
            devices = self._twins(every, routes)
        if self._sync is None:
            self._sync = self._connect(next(iter(routes.values())).delivery, self._writes)
        self._sync.step(routes, devices)
        self._failures, self._last_message = 0, ""
        self._clear(devices)
        return any(twin.job is not None for twin in devices)

    @property
    def changed(self) -> bool:
        """Return whether the last pass changed anything."""
        return self._writes.changed

    def _twins(self, every: Mapping[str, Route], routes: Mapping[str, Route]) -> list[Twin]:
        return [
            twin
            for twin in self._store.twins(self._system)
            if twin.device in routes or (twin.device not in every and twin.memo.get(SERVER) == self.server and twin.job)
        ]

    def _take_over(self, routes: Mapping[str, Route], devices: Sequence[Twin]) -> bool:
        """Reset twins that came from another server: their notes are about that one."""
        now = self._clock()

        def work(twin: Twin) -> Twin:
            if twin.memo.get(SERVER) == self.server:
                return twin
            moved = replace(twin, memo={SERVER: self.server})
            begun = moved.job is not None and moved.job.stage is not Stage.WAITING
            return dropped(moved, moved.job.number, now) if begun and moved.job is not None else moved

        there = {twin.device for twin in devices if twin.memo.get(SERVER) == self.server}
        came = [device for device in routes if device not in there]
        self._writes.change(came, work)
        return bool(came)

    def _drop_all(self, devices: Sequence[Twin]) -> None:
        """Drop the jobs of a server that no fleet names any more; its credentials may no longer be used."""
        now = self._clock()
        self._writes.change(
            [twin.device for twin in devices],
            lambda twin: dropped(twin, twin.job.number, now) if twin.job is not None else twin,
        )

    def _clear(self, current: Sequence[Twin]) -> None:
        """Clear the server's errors from twins, as it answers again."""
        devices = [twin.device for twin in current if twin.reason in _SERVER_REASONS]
        self._writes.change(
            devices, lambda twin: twins.with_problem(twin, "", "") if twin.reason in _SERVER_REASONS else twin
        )

    # ── between passes ────────────────────────────────────────────────────────────────────────────────────────

    def _rest(self, busy: bool) -> float:
        self._quiet = 0 if self._writes.changed else self._quiet + 1
        if not busy:
            return self._pace.at_rest
        return min(self._pace.under_way * float(1.5 ** min(self._quiet, 20)), self._pace.at_most)

    def _back_off(self, error: EdgewrightError) -> float:
        """Record a failed pass; return the seconds to back off."""
        if self._failures == 0:
            self._failing_since = time.monotonic()
        self._failures += 1
        if isinstance(error, Refused):
            self.close()  # a new secret may be there the next time
        if error.message != self._last_message:
            self._last_message = error.message
            log.warning("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        reason = self._reason(error)
        if reason and (reason != "Unreachable" or time.monotonic() - self._failing_since >= self._pace.silence):
            with suppress(EdgewrightError):  # the store has its own trouble then, and the next pass says so
                self._mark_devices(reason, error)
        asked = error.retry_after if isinstance(error, Busy) else None
        own = min(self._pace.backoff * float(2 ** min(self._failures - 1, 20)), self._pace.longest)
        return max(own, asked or 0.0)

    def _reason(self, error: EdgewrightError) -> str:
        if isinstance(error, Refused):
            return error.reason
        if isinstance(error, DeliveryError):
            return "ServerRefused"
        return "Unreachable" if isinstance(error, DeliveryUnavailable) else ""

    def _mark_devices(self, reason: str, error: EdgewrightError) -> None:
        every, routes = self._find(self.server)
        words = f"{error.message}; {error.hint}" if error.hint else error.message
        devices = [twin.device for twin in self._twins(every, routes) if twin.device in routes]
        self._writes.change(devices, lambda twin: twins.with_problem(twin, reason, words))

    def _wait(self, seconds: float, stop: threading.Event) -> None:
        until = time.monotonic() + seconds
        while not stop.is_set() and (left := until - time.monotonic()) > 0:
            self._wakeup.wait(left)
            if self._wakeup.is_set() and not self._failures:
                return
            self._wakeup.clear()
