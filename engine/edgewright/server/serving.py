"""The HTTP server: uvicorn in a thread of its own, within bounds, ended by who started it. Used by ``cli``."""

import asyncio
import errno
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgewright.errors import EdgewrightError

HEADER_SECONDS = 10.0
"""A connection that has not sent a whole request line and its headers by then is closed."""
MOST_CONNECTIONS = 1_000
"""Requests beyond are answered with 503 at once."""
_HEADER_BYTES = 32 << 10
_START_SECONDS = 30.0
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """As a browser on this machine takes it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


class Serving:
    """An application, served. As a context manager it serves within the block.

    ``stop_seconds`` bounds how long requests may take to finish once it is told to stop.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: tuple[Path, Path] | None = None,
        stop_seconds: int = 5,
    ) -> None:
        """Serve ``app`` at ``host`` and ``port`` (0: any that is free); ``tls`` is a certificate chain and its key."""
        self._app = app
        self._host = host
        self._port = port
        self._tls = tls
        self._stop_seconds = stop_seconds
        self.address = Address(host, port, "https" if tls else "http")
        """Where it listens, once it has started; until then, where it is meant to."""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Address:
        """Listen and serve; the application has started when this returns.

        Raises:
            EdgewrightError: The address is taken, not allowed or not of this machine, the certificate or its key
                cannot be read, or the application did not start.
        """
        context = None if self._tls is None else _context(*self._tls)
        listener = _listen(self._host, self._port)
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_graceful_shutdown=self._stop_seconds,
        )
        config.load()
        config.ssl = context
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run_on, args=(listener,), name="http", daemon=True)
        self._thread.start()
        if not self._server.settled.wait(_START_SECONDS) or not self._server.started:
            cause = self._server.failure
            self.stop()
            listener.close()
            raise EdgewrightError("the HTTP server did not start", hint=str(cause or "")) from cause
        host, port = listener.getsockname()[:2]
        self.address = Address(host, port, "https" if context else "http")
        return self.address

    @property
    def is_serving(self) -> bool:
        """Whether the server's thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Take no more requests, let those that run finish, then end. May be called twice, and before ``start``."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.should_exit = True
        thread.join(self._stop_seconds + 2)
        if thread.is_alive():
            server.force_exit = True
            thread.join(2)

    def __enter__(self) -> Self:
        """Start; ``address`` says where."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop."""
        self.stop()


class _Server(uvicorn.Server):
    """Says when it has started or failed to. Off the main thread, uvicorn leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()
        self.failure: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    def run_on(self, listener: socket.socket) -> None:
        """Run until told to stop: the body of the thread."""
        try:
            self.run([listener])
        except (Exception, SystemExit) as failure:  # noqa: BLE001 - start() raises it
            self.failure = failure
        finally:
            self.settled.set()


class _Protocol(H11Protocol):
    """HTTP/1.1 that does not wait for ever for headers; uvicorn itself only limits idle connections."""

    _impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_headers()

    def _expect_headers(self) -> None:
        """One clock from the first byte to the last header: more bytes do not set it back."""
        if self.conn.their_state is not h11.IDLE:
            self._calm()
        elif self._impatience is None and not self.transport.is_closing():
            self._impatience = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _calm(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None


def _listen(host: str, port: int) -> socket.socket:
    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    if not 0 <= port <= _HIGHEST_PORT:  # getaddrinfo would take the rest of a division
        raise EdgewrightError(
            f"cannot listen on {where}", hint=f"ports go from 1 to {_HIGHEST_PORT}; 0 is any free one"
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # Only of a socket that says it is TCP's does asyncio switch off the wait for more to send, of 40 ms an answer.
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise EdgewrightError(f"cannot listen on {where}: {error}", hint="give an address of this machine") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise EdgewrightError(f"cannot listen on {where}: {error.strerror}", hint=_advice(error)) from error
    return listener


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there: end it, or choose another port"
        case errno.EACCES | errno.EPERM:
            return "this user may not: choose a port from 1024 on, and let a reverse proxy listen on the other"
        case _:
            return "give an address of this machine, or 0.0.0.0 for all of them"


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise EdgewrightError(
                f"cannot read {path}: {error.strerror}", hint="TLS needs a certificate and its key, as PEM files"
            ) from error
    try:
        # An empty password, so that an encrypted key is an error and no question on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise EdgewrightError(
            f"cannot use the certificate {certificate} with the key {key}: {error}",
            hint="both must be PEM, the key without a password, and belong together",
        ) from error
    return context
