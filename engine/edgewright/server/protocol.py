"""HTTP/1.1 on one connection: uvicorn's protocol on httptools, with what it lacks. Used by ``serving``.

- A request line and its headers have to arrive within a time, and are bounded; uvicorn leaves both to the sender.
- Who does not take in an answer is not waited for for ever.
- What can be answered from memory is answered at once, without a task of its own (``Instant``).
- The certificate that a client has shown is handed on, as ASGI's TLS extension names it.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
"""A connection that has not sent a whole request line and its headers by then is closed."""
HEADER_BYTES = 32 << 10
SPARE_SECONDS = 2.0
"""The same, of a connection beyond the limit: it is there to be asked for health, and makes room for the next."""
_HEALTH = {b"/healthz", b"/readyz"}
STALLED_SECONDS = 120.0
"""A connection whose other end takes in nothing of an answer for so long is ended."""

_SMALL = 16 << 10
"""Bytes from which on a piece is not worth waiting with."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

Headers = Sequence[tuple[bytes, bytes]]
Instant = Callable[[bytes, Headers], bytes | None]
"""Given the target of a GET without a body and its headers (names in lower case), gives the whole answer; None to let
the application answer. Called on the server's loop: it must not wait for anything."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, instant: Instant | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._instant = instant
        self._is_spare = False
        """Whether the limit of connections was reached before it."""
        self._impatience: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._in_head = False
        """Whether a request has begun whose headers are not complete."""
        self._head_bytes = 0
        self._requests = 0
        self._answered = False
        """Whether the request that is being read was answered at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        """Expect a request."""
        super().connection_made(transport)
        self._is_spare = self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency
        if self._is_spare:
            self.timeout_keep_alive = 0
        self._gathering = _Gathering(transport, self.loop)
        self.transport = cast(asyncio.Transport, self._gathering)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        if certificate:
            self.app = _introduced(self.app, ssl.DER_cert_to_PEM_cert(certificate))
        self._hurry()

    def data_received(self, data: bytes) -> None:
        """Read requests. One clock runs from the first byte to the last header: more bytes do not set it back."""
        before = self._requests
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEADER_BYTES:
                self._refuse_head()
            else:
                self._hurry()
        elif self._is_idle():
            if self._requests == before:  # empty lines, and nothing more yet
                self._hurry()
            elif self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._calm()
        self.resume_writing()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End soon, and at once where nothing is under way: a TLS client that sleeps would not say good-bye."""
        if self._is_idle() and not self._gathering.pending():
            self.transport.abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """Wait until the other end takes in what was sent, but not for ever."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Send on."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # ── called by the parser ──────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Answer at once, or start the application."""
        self._in_head = False
        self._requests += 1
        self._calm()
        if (answer := self._instantly()) is not None:
            self._answered = True
            self.server_state.total_requests += 1
            self._gathering.write_now(answer)
        elif sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > HEADER_BYTES:
            self._refuse_head()
        else:
            # Of those within the limit, one more request is no reason to refuse anything.
            is_refused = self._is_spare and self.url.partition(b"?")[0] not in _HEALTH
            self.limit_concurrency = 0 if is_refused else None
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take some of a body."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if self._answered or self.cycle is None:
            self._answered = False
        else:
            super().on_message_complete()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────

    def _instantly(self) -> bytes | None:
        can = (
            self._instant is not None
            and self._is_idle()
            and not self.flow.write_paused
            and not self._is_spare
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
        )
        return self._instant(self.url, self.headers) if can and self._instant is not None else None

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse_head(self) -> None:
        if self._is_idle():
            self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _hurry(self) -> None:
        if self._impatience is None and not self.transport.is_closing():
            seconds = SPARE_SECONDS if self._is_spare else HEADER_SECONDS
            self._impatience = self.loop.call_later(seconds, self.transport.close)

    def _calm(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None


class _Gathering:
    """A transport that sends small pieces together which are written in one go: a head and its body are one packet."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, at the latest when the loop comes round."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        if len(data) > _SMALL:
            self._flush()

    def pending(self) -> int:
        """The number of bytes, or parts, still to be sent."""
        return len(self._pieces) + self._transport.get_write_buffer_size()

    def write_now(self, data: bytes) -> None:
        """Send at once, after what was written."""
        self._flush()
        self._transport.write(data)

    def close(self) -> None:
        """Send what was written, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))


def _introduced(app: Any, certificate: str) -> ASGIApp:
    """Add the certificate that a connection's client has shown to each of its requests."""
    extension = {"client_cert_chain": [certificate]}

    async def introduced(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"] = {**scope.get("extensions", {}), "tls": extension}
        await app(scope, receive, send)

    return introduced
