"""Polls of a repository's ``timestamp.json``: answered from memory, and held until it changes where a device asks so.

A thread follows the file, woken by the system where it can and by the clock where it cannot, so that no slow disk and
no share that hangs ever stands in the way of the server's loop. Used by ``agent_app``.
"""

import asyncio
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from hashlib import sha256
from pathlib import Path

from starlette.types import Send

from edgewright.errors import SourceError
from edgewright.server.devices.agent_answers import Gone, send_json
from edgewright.server.devices.repository_files import ASK, is_known
from edgewright.server.protocol import Headers
from edgewright.source.watch import Watch, watch
from edgewright_wire.layout import METADATA

NAME = "timestamp.json"
LONGEST_WAIT = 60
"""Seconds that a poll is held at most."""
MOST_WAITING = 5_000
"""Polls that are held at the same time; others are answered at once."""
POLLS_PER_SECOND = 500
"""What all devices together may ask for: a tenth of what one core answers, with TLS."""
SHORTEST_POLL, LONGEST_POLL = 5, 3600
_LARGEST = 64 << 10
_LOOK_SECONDS = 1.0
_LOOK_OFTEN_SECONDS = 0.25
"""Where the system does not say what changes: shares of other machines."""
_COUNT_SECONDS = 30.0
_LONGER = frozenset({b"range", b"if-modified-since", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""Headers that take more than an instant."""
_WAIT = re.compile(rb"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)
_HEADERS = (
    b"content-type: application/json\r\ncache-control: no-cache\r\naccept-ranges: bytes\r\n"
    b"x-content-type-options: nosniff\r\n"
)


def poll_seconds(devices: int, per_second: int = POLLS_PER_SECOND) -> int:
    """Return the seconds between polls of a device that keep all devices below so many polls a second."""
    return max(SHORTEST_POLL, min(LONGEST_POLL, -(-devices // per_second)))


@dataclass(frozen=True, slots=True)
class Timestamp:
    """The file as it was read last, and answers made of it, all but the status line and the date."""

    content: bytes
    etag: bytes
    modified: bytes
    whole: bytes
    unchanged: bytes


def _timestamp(content: bytes, mtime: float, poll: int) -> Timestamp:
    etag = b'"%s"' % sha256(content).hexdigest()[:32].encode()
    modified = formatdate(mtime, usegmt=True).encode()
    common = b"etag: %s\r\nlast-modified: %s\r\nedgewright-poll: %d\r\n%s" % (etag, modified, poll, _HEADERS)
    return Timestamp(
        content, etag, modified, b"%scontent-length: %d\r\n\r\n%s" % (common, len(content), content), common + b"\r\n"
    )


class Polls:
    """One repository's timestamp. Started and closed from any thread; asked on the server's loop."""

    def __init__(self, folder: Path, devices: Callable[[], int]) -> None:
        """Wire it.

        Args:
            folder: The published repository; it may not be there yet.
            devices: How many devices poll; asked now and then, and may take its time.
        """
        self._path = folder / METADATA / NAME
        self._devices = devices
        self._counted = -_COUNT_SECONDS
        self._state: object = None
        self._look = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._date = (0, b"")
        self.poll = SHORTEST_POLL
        """Seconds between two polls of a device, as of now."""
        self.current: Timestamp | None = None

    def start(self) -> None:
        """Read the file, and follow it from now on."""
        self._read()
        self._thread = threading.Thread(target=self._follow, name="timestamp", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow it no more, and let go of every poll that is held."""
        self._closing = True
        self._look.set()
        self._release()
        if self._thread is not None:
            self._thread.join()

    # ── on the server's loop ──────────────────────────────────────────────────────────────────────────────────

    def instant(self, headers: Headers) -> bytes | None:
        """A whole answer to a poll; None where it takes more than this: to be held, or part of the file."""
        current = self.current
        if current is None or self._closing:
            return None
        unchanged, waits = False, False
        for name, value in headers:
            if name == b"if-none-match":
                unchanged = value == current.etag
                if not unchanged and (b"," in value or value[:2] == b"W/" or value == b"*"):
                    return None
            elif name == b"prefer":
                waits = True
            elif name in _LONGER:
                return None
        if waits:
            return None
        if unchanged:
            return b"HTTP/1.1 304 Not Modified\r\ndate: %s\r\n%s" % (self._now(), current.unchanged)
        return b"HTTP/1.1 200 OK\r\ndate: %s\r\n%s" % (self._now(), current.whole)

    async def _changed(self, etag: bytes, seconds: float, gone: Gone) -> bool:
        """Wait until the file is another than ``etag`` names, but no longer than that, nor for who has hung up.

        Returns:
            False at once where it is not waited: too many are, or everything ends.
        """
        if self._closing or len(self._waiting) >= MOST_WAITING:
            return False
        self._loop = asyncio.get_running_loop()
        news = self._loop.create_future()
        self._waiting.add(news)
        try:
            if self.current is not None and self.current.etag == etag and not self._closing:
                await asyncio.wait((news, gone.future()), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(news)
        return True

    async def answer(self, method: str, headers: Mapping[bytes, bytes], send: Send, gone: Gone) -> None:
        """Answer a GET or a HEAD with the file, when it has changed where that is asked for (``Prefer: wait=…``)."""
        current = self.current
        known, granted = headers.get(b"if-none-match"), 0
        asked = _WAIT.search(headers.get(b"prefer", b""))
        if asked is not None and current is not None and method == "GET":
            granted = min(int(asked[1]), LONGEST_WAIT)
            if granted and is_known(known, current.etag.decode()):
                granted = granted if await self._changed(current.etag, granted, gone) else 0
                current = self.current
        if current is None:
            await send_json(send, 404, {"error": "there is no such file in the repository"})
            return
        unchanged = is_known(known, current.etag.decode())
        answer = [
            (b"etag", current.etag),
            (b"last-modified", current.modified),
            (b"edgewright-poll", b"%d" % self.poll),
            (b"content-type", b"application/json"),
            (b"cache-control", ASK),
            (b"x-content-type-options", b"nosniff"),
        ]
        if granted:
            answer.append((b"preference-applied", b"wait=%d" % granted))
        if not unchanged:
            answer.append((b"content-length", b"%d" % len(current.content)))
        await send({"type": "http.response.start", "status": 304 if unchanged else 200, "headers": answer})
        await send({"type": "http.response.body", "body": b"" if unchanged or method == "HEAD" else current.content})

    def _now(self) -> bytes:
        second = int(time.time())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True).encode())
        return self._date[1]

    def _wake(self) -> None:
        for news in self._waiting:
            if not news.done():
                news.set_result(None)

    # ── on the thread that follows ────────────────────────────────────────────────────────────────────────────

    def _follow(self) -> None:
        watching: Watch | None = None
        while not self._closing:
            if watching is None:
                watching = self._watch()
            self._look.wait(_LOOK_OFTEN_SECONDS if watching is None else _LOOK_SECONDS)
            self._look.clear()
            if self._read():
                self._release()
        if watching is not None:
            watching.stop()

    def _watch(self) -> Watch | None:
        """Watch the folder by the operating system; None where that is not possible, or nothing is there."""
        with suppress(SourceError, OSError):
            if self._path.parent.is_dir():
                return watch(self._path.parent, lambda _: self._look.set(), debounce=0.01)
        return None

    def _read(self) -> bool:
        """Read the file if it is another; whether that is so."""
        poll = self._interval()
        try:
            with self._path.open("rb") as file:
                about = os.fstat(file.fileno())  # of what is read: the path may lead to the next one already
                state = (about.st_mtime_ns, about.st_size, about.st_ino, poll)
                if state == self._state:
                    return False
                content = file.read(_LARGEST + 1)
        except OSError:
            state, content = None, b""
        before = self.current
        if state is None or len(content) > _LARGEST:
            self.current, self._state = None, state
        else:
            self.current, self._state = _timestamp(content, about.st_mtime, poll), state
        return (before and before.etag) != (self.current and self.current.etag)

    def _interval(self) -> int:
        now = time.monotonic()
        if now - self._counted >= _COUNT_SECONDS:
            self._counted = now
            with suppress(Exception):  # whatever is wrong with the store is said by those whose work it stops
                self.poll = poll_seconds(self._devices())
        return self.poll

    def _release(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._wake)
