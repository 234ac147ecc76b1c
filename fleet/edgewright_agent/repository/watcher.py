"""Noticing that a repository changed, without holding anything up: a thread that asks, and only says that it looks new.

What is new, and whether it is to be believed, the agent's loop finds out itself; it looks now and then in any case.
``http_wiring`` makes one; the loop asks it for ``news`` and is woken by it.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgewright_agent.errors import TransportError
from edgewright_agent.http.answers import BUSY, granted_wait, retry_after
from edgewright_agent.http.client import HttpClient
from edgewright_agent.repository.http_transport import SMALL, TIMESTAMP, wall_clock
from edgewright_agent.repository.pacing import Pace, PollAttempt, pause_after

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeenTimestamp:
    """Entity tag and digest of the timestamp seen last."""

    tag: str = ""
    """To ask whether it changed; empty where the server gives none."""
    digest: bytes = b""


class RepositoryWatch:
    """Asks for a repository's timestamp, over and over.

    Args:
        url: The repository's base.
        client: How to get there; its own, because a request may take as long as a server likes to wait.
        pace: How often, where the server does not wait.
        long_poll: Seconds the server is asked to wait for a change; 0 not to ask for that.
        jitter: 0 to 1.
    """

    def __init__(
        self,
        url: str,
        client: HttpClient,
        pace: Pace,
        long_poll: float,
        jitter: Callable[[], float],
    ) -> None:
        self._url = f"{url.rstrip('/')}/{TIMESTAMP}"
        self._client = client
        self._pace = pace
        self._long_poll = long_poll
        self._jitter = jitter
        self._known = SeenTimestamp()
        self._failures = 0
        self._wake: Callable[[], None] = lambda: None
        self._news = threading.Event()
        self._stopping = threading.Event()

    def start(self, wake: Callable[[], None]) -> None:
        """Begin; ``wake`` is called, from the watching thread, when there is news."""
        self._wake = wake
        # A daemon: the end of the process must not wait for a server that waits.
        threading.Thread(target=self._watch, name="edgewright-watch", daemon=True).start()

    def stop(self) -> None:
        """End, at the latest when the present request has its answer."""
        self._stopping.set()
        self._pace.interrupt()

    def changed(self) -> bool:
        """Return whether something changed since the last call."""
        if not self._news.is_set():
            return False
        self._news.clear()
        return True

    def _watch(self) -> None:
        while not self._stopping.is_set():
            asked = self._ask()
            jitter = self._jitter()
            self._pace.wait(
                lambda asked=asked, jitter=jitter: pause_after(asked, self._pace.seconds, jitter),  # type: ignore[misc]
                time.monotonic,
                self._stopping.is_set,
            )
        self._client.close()

    def _ask(self) -> PollAttempt:
        known, wait, begun = self._known, self._long_poll, time.monotonic()
        headers = {"If-None-Match": known.tag} if known.tag else {}
        if wait:
            headers["Prefer"] = f"wait={wait:.0f}"
        try:
            answer = self._client.get(self._url, headers, wait)
            self._pace.heard(answer.headers)
            body = answer.body(SMALL)
        except TransportError as error:
            return self._failed(error.message, bool(known.tag), 0.0)
        if answer.status not in {200, 304}:
            pause = retry_after(answer.headers, wall_clock())
            return self._failed(f"HTTP {answer.status}", bool(known.tag), pause, busy=answer.status in BUSY)
        if answer.status == 200:
            self._known = SeenTimestamp(answer.headers.get("ETag", ""), hashlib.sha256(body).digest())
        changed = self._known.digest != known.digest
        if changed or self._failures:
            self._tell()
        self._failures = 0
        return PollAttempt(bool(known.tag), wait, time.monotonic() - begun, granted_wait(answer.headers), changed)

    def _failed(self, message: str, conditional: bool, pause: float, *, busy: bool = False) -> PollAttempt:
        log.debug("watching %s: %s", self._url, message)
        self._failures += 1
        if self._failures == 1 and not busy:
            self._tell()  # the loop looks itself, and reports what is wrong
        return PollAttempt(conditional, self._long_poll, 0.0, failures=self._failures, retry_after=pause)

    def _tell(self) -> None:
        self._news.set()
        self._wake()
