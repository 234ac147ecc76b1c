"""A static web server over a published repository, as any server or CDN would serve it, with an attacker's knobs.

Serves files with strong ETags and ranges; writes down what it was asked for and how many bytes of bodies it sent.
"""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import unquote


@dataclass
class Asked:
    """One request."""

    path: str
    """Below the repository, as it came over the wire."""
    offset: int
    status: int
    sent: int = 0
    """Bytes of the body."""


Answer = Callable[[bytes], Iterable[bytes]]
"""What is sent instead of a file's bytes; without an end, if it likes."""


@dataclass
class Repository:
    """What the server knows."""

    root: Path
    asked: list[Asked] = field(default_factory=list)
    lies: dict[str, Answer] = field(default_factory=dict)
    """By path: what is sent instead, without a length."""
    statuses: dict[str, int] = field(default_factory=dict)
    """By path: what is answered instead."""
    before: Callable[[str], None] = lambda _path: None
    """Called before each answer."""

    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    def bytes_of_blobs(self) -> int:
        return sum(request.sent for request in self.asked if request.path.startswith("blobs/"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Keep quiet."""

    def do_GET(self) -> None:
        server = cast("_Server", self.server)
        repository = server.repository
        path = self.path.lstrip("/")
        repository.before(path)
        # A role's name may have a quoted slash, and then so has its file.
        file = next((file for name in (path, unquote(path)) if (file := repository.root / name).is_file()), None)
        data = file.read_bytes() if file is not None else b""
        if (lie := repository.lies.get(path)) is not None:
            self._lie(path, lie(data))
        elif (status := repository.statuses.get(path)) or file is None:
            self._empty(path, status or 404)
        else:
            self._file(path, data)

    def _file(self, path: str, data: bytes) -> None:
        repository = cast("_Server", self.server).repository
        tag = f'"{sha256(data).hexdigest()}"'
        if self.headers.get("If-None-Match") == tag:
            self._empty(path, 304, tag)
            return
        offset = 0
        if (wanted := self.headers.get("Range")) and self.headers.get("If-Range", tag) == tag:
            offset = int(wanted.removeprefix("bytes=").rstrip("-"))
            if offset >= len(data):
                self._empty(path, 416)
                return
        asked = Asked(path, offset, 206 if offset else 200)
        repository.asked.append(asked)
        self.send_response(asked.status)
        self.send_header("Content-Length", str(len(data) - offset))
        self.send_header("ETag", tag)
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self._send(asked, (data[start : start + 65536] for start in range(offset, len(data), 65536)))

    def _lie(self, path: str, chunks: Iterable[bytes]) -> None:
        asked = Asked(path, 0, 200)
        cast("_Server", self.server).repository.asked.append(asked)
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self._send(asked, chunks)

    def _send(self, asked: Asked, chunks: Iterable[bytes]) -> None:
        try:
            for chunk in chunks:
                self.wfile.write(chunk)
                asked.sent += len(chunk)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _empty(self, path: str, status: int, tag: str = "") -> None:
        cast("_Server", self.server).repository.asked.append(Asked(path, 0, status))
        self.send_response(status)
        if tag:
            self.send_header("ETag", tag)
        if status != 304:
            self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        super().__init__(("127.0.0.1", 0), _Handler)


@contextlib.contextmanager
def serving_elsewhere(root: Path) -> Iterator[str]:
    """Serve a directory from a process of its own, for tests that fork; gives its URL."""
    command = [sys.executable, __file__, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def serving(root: Path) -> Iterator[tuple[str, Repository]]:
    """Serve a directory on the loopback; gives its URL and what to look at and turn."""
    repository = Repository(root)
    with _Server(repository) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", repository
        finally:
            server.shutdown()
            thread.join(10)


if __name__ == "__main__":
    with serving(Path(sys.argv[1])) as (own_url, _):
        print(own_url, flush=True)
        threading.Event().wait()
