"""Bounds of the HTTP server: connections are counted as they are accepted, and health is answered beyond them."""

import contextlib
import logging
import os
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from edgewright.server import serving
from edgewright.server.devices.strangers import Strangers, TooManyStrangers
from edgewright.server.listener import BoundedListener
from edgewright.server.serving import Address, Serving
from harness.asgi import live
from servers.certificates import self_signed

PATIENCE = 30.0


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """A server of four connections, and two in reserve."""
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(serving, "RESERVED", 2)
    with Serving(app, stop_seconds=1) as served:
        yield served.address


def connect(address: Address) -> socket.socket:
    return socket.create_connection((address.host, address.port), PATIENCE)


def ask(connection: socket.socket, path: str) -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection.recv(4096).split(b"\r\n")[0].removeprefix(b"HTTP/1.1 ")


def test_health_is_answered_beyond_the_limit_and_nothing_is_accepted_beyond_the_reserve(few: Address) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(few)) for _ in range(4)]
        assert [ask(each, "/agent/x") for each in held] == [b"200 OK"] * 4
        for path, status in (("/agent/x", b"503"), ("/healthz", b"200"), ("/readyz?x", b"200")):
            with connect(few) as extra:
                assert ask(extra, path).startswith(status), path
        spare = [stack.enter_context(connect(few)) for _ in range(2)]
        assert ask(spare[0], "/healthz").startswith(b"200")
        assert [ask(each, "/agent/x") for each in held] == [b"200 OK"] * 4, "who was there first is served"
        with connect(few) as shed, contextlib.suppress(ConnectionResetError):
            assert shed.recv(4096) == b"", "no more than are in reserve"
        assert spare[1].recv(4096) == b"", "a spare connection that asks for nothing is closed soon"
        held[0].close()
        with connect(few) as again:
            assert ask(again, "/agent/x") == b"200 OK"


def test_handshakes_are_bounded_and_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_HANDSHAKES", 2)
    monkeypatch.setattr(serving, "HANDSHAKE_SECONDS", 1.0)
    chain, key = self_signed(tmp_path, "server")
    context = ssl.create_default_context(cafile=str(chain))
    with Serving(app, tls=(chain, key), stop_seconds=1) as served:
        silent = [connect(served.address) for _ in range(2)]
        with pytest.raises(httpx.TransportError):
            httpx.get(served.address.url, verify=context, trust_env=False, timeout=PATIENCE)
        assert [each.recv(4096) for each in silent] == [b"", b""]
        answer = httpx.get(served.address.url, verify=context, trust_env=False, timeout=PATIENCE)
        assert answer.text == "ok"


def test_a_process_without_files_closes_what_comes_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    listener = BoundedListener(socket.AF_INET, socket.SOCK_STREAM, 0)
    listener.bind(("127.0.0.1", 0))
    listener.listen(10)
    listener.setblocking(False)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.open(os.devnull, os.O_RDONLY)
    os.close(highest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
        with caplog.at_level(logging.WARNING):
            for client in clients[:2]:
                with pytest.raises(ConnectionAbortedError):
                    listener.accept()
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(caplog.records) == 1
    connection, _ = listener.accept()
    assert listener.accepted == 1
    connection.close()
    assert listener.accepted == 0
    for each in (*clients, listener):
        each.close()


def test_strangers_of_one_address_leave_room_for_others() -> None:
    strangers = Strangers(most=3, most_of_address=2)
    with strangers.admit("192.0.2.1"), strangers.admit("192.0.2.1"):
        with pytest.raises(TooManyStrangers), strangers.admit("192.0.2.1"):
            pass
        with strangers.admit("192.0.2.2"), pytest.raises(TooManyStrangers), strangers.admit("192.0.2.3"):
            pass
    with strangers.admit("192.0.2.1"):
        pass
