"""A server with a JSON API on this machine that can misbehave: the base of ``hawkbit_server`` and ``mender_server``."""

import json
import ssl
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, RLock, Thread
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

FaultName = Literal[
    "error",
    "busy",
    "limit",
    "html",
    "html-error",
    "hang",
    "cut",
    "lost",
    "dropped",
    "redirect",
    "huge",
    "odd",
    "trickle",
]
"""``lost``: it is done, and no answer arrives; ``dropped``: nor is it done. ``odd``: JSON of another shape.
``trickle``: a byte at a time."""

_PAGE, _JSON = {"Content-Type": "text/html"}, {"Content-Type": "application/json"}
_ANSWERS: Mapping[FaultName, tuple[int, bytes, dict[str, str]]] = {
    "error": (500, b'{"message": "Internal Server Error"}', _JSON),
    "busy": (503, b"<html>Service Unavailable</html>", _PAGE),
    "limit": (429, b"", {}),
    "html": (200, b"<html>Please sign in</html>", _PAGE),
    "html-error": (403, b"<html>Blocked by policy</html>", _PAGE),
    "redirect": (302, b"", {"Location": "http://elsewhere.example/"}),
    "odd": (200, b'{"ok": true}', _JSON),
    "huge": (200, b'["' + b"x" * (17 * 2**20) + b'"]', _JSON),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """How a request goes wrong."""

    name: FaultName
    method: str = ""
    path: str = ""
    """Part of the path."""
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A request that arrived."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    """Names in lower case."""
    content: bytes
    at: float = field(default_factory=time.monotonic)

    def ask(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return next((value for key, value in self.query if key == name), default)

    def all(self, name: str) -> list[str]:
        """Every value of a parameter."""
        return [value for key, value in self.query if key == name]

    @property
    def kind(self) -> str:
        """The content type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip()

    def json(self) -> Any:
        """The body."""
        return json.loads(self.content) if self.content else None


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: JSON, or bytes as they are."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        """The content, and headers with its type."""
        if self.body is None:
            return b"", dict(self.headers)
        if isinstance(self.body, bytes):
            return self.body, {"Content-Type": "application/octet-stream", **self.headers}
        return json.dumps(self.body).encode(), {"Content-Type": "application/json;charset=UTF-8", **self.headers}


class ApiServer:
    """Serves ``answer`` within a ``with`` block; ``tls``: certificate and key, in one file."""

    def __init__(self, tls: Path | None = None) -> None:
        self.lock = RLock()
        self.requests: list[Question] = []
        self._faults: deque[Fault] = deque()
        self._losing: tuple[str, int, FaultName] | None = None
        self._closing = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def fail(
        self, name: FaultName, times: int = 1, *, method: str = "", path: str = "", retry_after: str | None = None
    ) -> None:
        """Let the next requests, of this method and with this in their path, go wrong."""
        self._faults.extend([Fault(name, method, path, retry_after)] * times)

    def lose(self, number: int, path: str, *, done: bool) -> None:
        """Let the ``number``-th request from now with this in its path get no answer, done or not."""
        self._losing = (path, number, "lost" if done else "dropped")

    def recover(self) -> bool:
        """Nothing goes wrong any more; whether something still would have."""
        left = bool(self._faults) or self._losing is not None
        self._faults.clear()
        self._losing = None
        return left

    def asked(self, method: str, path: str = "") -> list[Question]:
        """Requests of a method, with this in their path."""
        return [each for each in self.requests if each.method == method and path in each.path]

    def answer(self, question: Question) -> Reply:
        raise NotImplementedError

    def _serve(self, question: Question) -> tuple[Reply, Fault | None]:
        with self.lock:
            self.requests.append(question)
            fault = self._next_fault(question)
            if fault is not None and fault.name not in {"lost", "trickle"}:
                return Reply(200), fault
            return self.answer(question), fault

    def _next_fault(self, question: Question) -> Fault | None:
        if self._losing is not None and self._losing[0] in question.path:
            path, left, name = self._losing
            self._losing = (path, left - 1, name) if left > 1 else None
            if left == 1:
                return Fault(name)
        for fault in self._faults:
            if fault.method in {"", question.method} and fault.path in question.path:
                self._faults.remove(fault)
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for an ApiServer, which ``_handler`` binds."""

    api: ApiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        content = self._chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else self._whole()
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        reply, fault = self.api._serve(Question(self.command, parts.path, query, headers, content))
        if fault is None:
            self._send(reply.status, *reply.encoded())
        else:
            self._misbehave(fault, reply)

    def _whole(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return content

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server calls them so

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], promised: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(promised if promised is not None else len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _misbehave(self, fault: Fault, reply: Reply) -> None:
        extra = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
        if fault.name in _ANSWERS:
            status, content, headers = _ANSWERS[fault.name]
            self._send(status, content, headers | extra)
            return
        match fault.name:
            case "hang":
                self.api._closing.wait()
                self.close_connection = True
            case "lost" | "dropped":
                self.close_connection = True
            case "cut":
                self._send(200, b'{"id": 1', {}, promised=1000)
                self.close_connection = True
            case "trickle":
                content, headers = reply.encoded()
                self._send(reply.status, b"", headers, promised=len(content))
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    if self.api._closing.wait(0.2):
                        break
                self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the base class names it so
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError):  # the client went away; its test says whether that is right
            self.close_connection = True


def _handler(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"api": server})


def milliseconds() -> int:
    return int(time.time() * 1000)
