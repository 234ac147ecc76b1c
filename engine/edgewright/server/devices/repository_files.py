"""A published repository's files over HTTP: ranges, conditions, caching, in bounded pieces. Used by ``agent_app``.

Everything in it is signed or named by its digest, so nobody has to say who they are. Files are read on threads of their
own, never on the server's loop.
"""

import asyncio
import os
import re
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

from starlette.types import Send

from edgewright.server.devices.agent_answers import RawHeaders, send_json

PIECE = 128 << 10
"""Bytes that are read, and held, at a time."""
_SMALL = 32 << 10
_MOST_KEPT = 16 << 20
"""Bytes of small files that are remembered."""
_KEPT_SECONDS = 10.0
_PATH = re.compile(
    r"metadata/[A-Za-z0-9_][A-Za-z0-9._-]*\.json|blobs/sha256/[0-9a-f]{64}|"
    r"targets/(?:[A-Za-z0-9_][A-Za-z0-9._-]*/){0,4}[0-9a-f]{64}\.[A-Za-z0-9._-]+"
)
"""Everything that a repository's layout has, and nothing else: nothing half written, nothing that lies beside it."""
_CONTENT = re.compile(r"(?:blobs/sha256/|targets/(?:.*/)?)([0-9a-f]{64})(?:\..*)?")
_VERSIONED = re.compile(r"metadata/[0-9]+\..*")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
FOREVER, ASK = b"public, max-age=31536000, immutable", b"no-cache"


@dataclass(frozen=True, slots=True)
class Piece:
    """The requested part of a file."""

    status: int
    start: int = 0
    length: int = 0


def piece_of(size: int, etag: str, modified: float, headers: Mapping[bytes, bytes]) -> Piece:
    """Decide what to answer a GET by its conditions and its range (RFC 9110); one that cannot be read is ignored.

    Args:
        size: The file's, in bytes.
        etag: Its strong entity tag.
        modified: When it was changed, POSIX seconds.
        headers: The request's, names in lower case.
    """
    known = headers.get(b"if-none-match")
    since = _date(headers.get(b"if-modified-since")) if known is None else None
    if is_known(known, etag) or (since is not None and int(modified) <= since.timestamp()):
        return Piece(304)
    condition = headers.get(b"if-range")
    if condition is not None and _text(condition) not in {etag, formatdate(modified, usegmt=True)}:
        return Piece(200, 0, size)
    return _ranged(size, _text(headers.get(b"range", b"")).strip())


def is_known(known: bytes | None, etag: str) -> bool:
    """Return whether ``If-None-Match`` names this entity tag; a proxy may have made it a weak one."""
    if known is None:
        return False
    return known.strip() == b"*" or etag in {tag.strip().removeprefix("W/") for tag in _text(known).split(",")}


def _ranged(size: int, text: str) -> Piece:
    whole, found = Piece(200, 0, size), _RANGE.fullmatch(text)
    if found is None or found[1] == found[2] == "":
        return whole
    if not found[1]:
        length = min(int(found[2]), size)
        return Piece(206, size - length, length) if length else Piece(416)
    start, last = int(found[1]), int(found[2] or size)
    if last < start < size:
        return whole
    return Piece(206, start, min(last, size - 1) - start + 1) if start < size else Piece(416)


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _date(value: bytes | None) -> datetime | None:
    if value is not None:
        with suppress(ValueError, TypeError):
            return parsedate_to_datetime(_text(value))
    return None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A small file in memory."""

    content: bytes
    etag: str
    modified: float
    until: float
    """Of the loop's clock: it is read again then, for it may have been damaged or mended."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """An answer whose first piece has been read; ``file`` is open while there is more."""

    status: int
    headers: RawHeaders
    first: bytes = b""
    at: int = 0
    left: int = 0
    file: int | None = None


class RepositoryFiles:
    """The files of one repository. Small ones that never change are remembered for a while: after something was
    published, all devices ask for the same few."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, _Kept] = {}
        self._kept_bytes = 0

    async def answer(
        self,
        method: str,
        path: str,
        headers: Mapping[bytes, bytes],
        send: Send,
        gone: Callable[[], bool],
        threads: Executor,
    ) -> int:
        """Answer a GET or a HEAD, and stop sending when who asked has ``gone``; gives the status.

        ``path`` is below the repository, without its percent-encoding; ``threads`` read files.
        """
        loop = asyncio.get_running_loop()
        begun: _Begun | None = None
        if (kept := self._kept.get(path)) is not None and loop.time() < kept.until:
            begun = _of_memory(method, path, headers, kept)
        elif _PATH.fullmatch(path):
            found = await loop.run_in_executor(threads, self._begin, method, path, headers, loop.time())
            if isinstance(found, _Kept):
                self._keep(path, found)
                begun = _of_memory(method, path, headers, found)
            else:
                begun = found
        if begun is None:
            await send_json(send, 404, {"error": "there is no such file in the repository"})
            return 404
        try:
            await send({"type": "http.response.start", "status": begun.status, "headers": list(begun.headers)})
            body, at, left = begun.first, begun.at, begun.left
            while left and begun.file is not None and not gone():
                await send({"type": "http.response.body", "body": body, "more_body": True})
                body = await loop.run_in_executor(threads, os.pread, begun.file, min(PIECE, left), at)
                if not body:
                    raise OSError(f"{path} became shorter while it was sent")
                at, left = at + len(body), left - len(body)
            await send({"type": "http.response.body", "body": body})
        finally:
            if begun.file is not None:
                os.close(begun.file)
        return begun.status

    def _keep(self, path: str, kept: _Kept) -> None:
        before = self._kept.pop(path, None)
        self._kept_bytes += len(kept.content) - (len(before.content) if before is not None else 0)
        self._kept[path] = kept
        while self._kept_bytes > _MOST_KEPT:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))).content)

    def _begin(self, method: str, path: str, headers: Mapping[bytes, bytes], now: float) -> _Begun | _Kept | None:
        """Open a file and read its first piece, or all of a small one; None where it is not there."""
        try:
            file = os.open(self._folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                return None
            etag = _etag(path, about)
            if about.st_size <= _SMALL and _is_lasting(path):
                return _Kept(os.pread(file, about.st_size, 0), etag, about.st_mtime, now + _KEPT_SECONDS)
            asked = piece_of(about.st_size, etag, about.st_mtime, headers)
            answer = [*_headers(path, etag, about.st_mtime), *_range_headers(asked, about.st_size)]
            first = b"" if method == "HEAD" else os.pread(file, min(PIECE, asked.length), asked.start)
            left = 0 if method == "HEAD" else asked.length - len(first)
            if not left:
                return _Begun(asked.status, answer, first)
            return _Begun(asked.status, answer, first, asked.start + len(first), left, os.dup(file))
        finally:
            os.close(file)


def _of_memory(method: str, path: str, headers: Mapping[bytes, bytes], kept: _Kept) -> _Begun:
    size = len(kept.content)
    asked = piece_of(size, kept.etag, kept.modified, headers)
    answer = [*_headers(path, kept.etag, kept.modified), *_range_headers(asked, size)]
    return _Begun(
        asked.status, answer, b"" if method == "HEAD" else kept.content[asked.start : asked.start + asked.length]
    )


def _is_lasting(path: str) -> bool:
    """Return whether the bytes of a name never change."""
    return _CONTENT.fullmatch(path) is not None or _VERSIONED.fullmatch(path) is not None


def _etag(path: str, about: os.stat_result) -> str:
    """Name a file's bytes: by their digest where its name holds it, so that every controller names them alike."""
    named = _CONTENT.fullmatch(path)
    return f'"{named[1][:32]}-{about.st_size:x}"' if named else f'"{about.st_mtime_ns:x}-{about.st_size:x}"'


def _headers(path: str, etag: str, modified: float) -> RawHeaders:
    return [
        (b"content-type", b"application/json" if path.endswith(".json") else b"application/octet-stream"),
        (b"etag", etag.encode()),
        (b"last-modified", formatdate(modified, usegmt=True).encode()),
        (b"cache-control", FOREVER if _is_lasting(path) else ASK),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
    ]


def _range_headers(asked: Piece, size: int) -> RawHeaders:
    match asked.status:
        case 304:
            return []
        case 416:
            return [(b"content-range", b"bytes */%d" % size), (b"content-length", b"0")]
        case 206:
            last = asked.start + asked.length - 1
            span = (b"content-range", b"bytes %d-%d/%d" % (asked.start, last, size))
            return [span, (b"content-length", b"%d" % asked.length)]
        case _:
            return [(b"content-length", b"%d" % size)]
