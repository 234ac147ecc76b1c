"""The HTTP server: uvicorn in a thread of its own, within bounds, ended by who started it. Used by ``cli``."""

import asyncio
import errno
import logging
import resource
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from edgewright.errors import EdgewrightError
from edgewright.server.listener import BoundedListener
from edgewright.server.protocol import Instant, Protocol
from edgewright.server.tls import TlsContext

MOST_CONNECTIONS = 10_000
"""Requests of connections beyond are answered with 503 at once; fewer where the system gives a process fewer files."""
RESERVED = 64
"""Connections beyond those, which are asked for health or refused; still more are closed as they come."""
MOST_HANDSHAKES = 1_000
"""TLS handshakes at once."""
HANDSHAKE_SECONDS = 10.0
KEEP_SECONDS = 75
"""How long a connection is kept without a request: longer than devices wait between two."""
TLS_SECONDS = 10
"""How often the files of TLS are looked at."""
_SPARED_FILES = 200
"""For everything but connections."""
_START_SECONDS = 30.0
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """The address a server listens on."""

    host: str
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """As a browser on this machine takes it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


class Serving:
    """An application, served. As a context manager it serves within the block."""

    def __init__(
        self,
        app: ASGIApp,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: tuple[Path, Path] | None = None,
        clients: Callable[[], bytes] = bytes,
        instant: Instant | None = None,
        stop_seconds: int = 5,
    ) -> None:
        """Wire it; nothing listens yet.

        Args:
            app: What is served.
            host: Where to listen.
            port: 0: any that is free.
            tls: A certificate chain and its key; they may be renewed while it serves.
            clients: Gives authorities of certificates that clients may show over TLS, as TlsContext takes them.
                Requests name a client's as ASGI's TLS extension.
            instant: Answers some requests without the application.
            stop_seconds: How long requests may take to finish once it is told to stop.
        """
        self._app = app
        self._host = host
        self._port = port
        self._tls = tls
        self._clients = clients
        self._instant = instant
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
        tls = TlsContext(*self._tls, self._clients) if self._tls is not None else None
        listener, most = _listen(self._host, self._port), _most_connections()
        listener.most = most + RESERVED
        config = uvicorn.Config(
            self._app,
            http=partial(Protocol, instant=self._instant),  # type: ignore[arg-type] # called as the class would be
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=most,
            timeout_keep_alive=KEEP_SECONDS,
            timeout_graceful_shutdown=self._stop_seconds,
            timeout_notify=TLS_SECONDS,
            callback_notify=partial(asyncio.to_thread, tls.refresh) if tls is not None else None,
        )
        config.load()
        config.ssl = tls.context if tls is not None else None
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._server = _Server(config)
        if tls is not None:
            listener.handshakes = MOST_HANDSHAKES
            listener.established = self._server.connections
        self._thread = threading.Thread(target=self._server.run_on, args=(listener,), name="http", daemon=True)
        self._thread.start()
        if not self._server.settled.wait(_START_SECONDS) or not self._server.started:
            cause = self._server.failure
            self.stop()
            listener.close()
            raise EdgewrightError("the HTTP server did not start", hint=str(cause or "")) from cause
        host, port = listener.getsockname()[:2]
        self.address = Address(host, port, "https" if tls else "http")
        return self.address

    @property
    def is_serving(self) -> bool:
        """True while the server's thread lives."""
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
    """Signals when it has started or failed to. Off the main thread, uvicorn leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()
        self.failure: BaseException | None = None

    def connections(self) -> int:
        """Count the connections that have a protocol: those past their handshake."""
        return len(self.server_state.connections)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is not None:  # uvicorn leaves a handshake the minute that asyncio gives it
            loop: Any = asyncio.get_running_loop()
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=HANDSHAKE_SECONDS)
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


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn is kept; requests cut off at the end are expected."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _listen(host: str, port: int) -> BoundedListener:
    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    if not 0 <= port <= _HIGHEST_PORT:  # getaddrinfo would take the rest of a division
        raise EdgewrightError(
            f"cannot listen on {where}", hint=f"ports go from 1 to {_HIGHEST_PORT}; 0 is any free one"
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # Only of a socket that says it is TCP's does asyncio switch off the wait for more to send, of 40 ms an answer.
        listener = BoundedListener(family, kind, protocol)
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


def _most_connections() -> int:
    """Raise the process's limit of open files as far as allowed; returns how many connections that is enough for."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _SPARED_FILES + RESERVED
    soft = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    return max(1, min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0]) - _SPARED_FILES - RESERVED)
