"""The controller's HTTP: noise, stopping, TLS, connections that never end."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from edgewright.controller.health import ProcessHealth
from edgewright.controller.wakeups import Debouncer, Wakeup
from edgewright.errors import EdgewrightError
from edgewright.server import protocol
from edgewright.server.app import create_app
from edgewright.server.serving import Serving
from harness.asgi import live
from harness.profiles import examples
from servers.certificates import self_signed
from worlds.webhook_app import PATIENCE, SETTINGS, Place, _rest, delivery


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


MALFORMED = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%zz%00%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000,
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]


def _hang_up(place: Place, data: bytes) -> bytes:
    with socket.create_connection((place.address.host, place.address.port), PATIENCE) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # it had heard enough
            return b""
        return _rest(connection)


def test_malformed_http_is_refused_and_leaves_the_server_well(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), capture_logs() as lines:
        for data in MALFORMED:
            assert not _hang_up(place, data).startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))
        assert place.send("github", *delivery()).status_code == 202
        place.close()
    assert caplog.records == []
    assert not [line for line in lines if line["status"] >= 500]
    assert place.wakeups.wait(0) == Wakeup(1, frozenset())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(60))
@given(st.binary(max_size=300) | st.tuples(st.sampled_from(MALFORMED), st.binary(max_size=40)).map(b"".join))
def test_noise_is_refused_and_leaves_the_server_well(place: Place, data: bytes) -> None:
    assert not _hang_up(place, data).startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))
    assert place.client.get("/healthz").status_code == 200
    assert place.wakeups.wait(0) is None


def test_answers_do_not_wait_for_acknowledgements(place: Place) -> None:
    """Header and body are two packets; unless told not to, TCP holds the second back for 40 ms."""
    assert statistics.median(place.client.get("/healthz").elapsed.total_seconds() for _ in range(31)) < 0.03


def test_more_can_be_served_beside() -> None:
    router = APIRouter()

    @router.get("/pages/hello")
    def hello() -> str:
        return "hello"

    place = Place(SETTINGS, router)
    assert place.client.get("/pages/hello").json() == "hello"
    place.close()


def test_stopping_lets_requests_finish() -> None:
    arrived, go = threading.Event(), threading.Event()
    router = APIRouter()

    @router.get("/slow")
    def slow() -> str:
        arrived.set()
        go.wait(PATIENCE)
        return "done"

    place = Place(SETTINGS, router)
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(place.client.get, "/slow")
        assert arrived.wait(PATIENCE)
        stopping = pool.submit(place.serving.stop)
        go.set()
        assert asked.result(PATIENCE).json() == "done"
        stopping.result(PATIENCE)
    assert not place.serving.is_serving
    with pytest.raises(httpx.ConnectError):
        place.client.get("/healthz")
    place.close()


def test_stopping_does_not_wait_for_ever(place: Place) -> None:
    dawdling = b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhal"
    with socket.create_connection((place.address.host, place.address.port), PATIENCE) as connection:
        connection.sendall(dawdling)
        assert place.client.get("/healthz").status_code == 200
        place.serving.stop()
        assert not place.serving.is_serving
    place.serving.stop()


def test_signals_are_left_to_who_started_it() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    place = Place()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    place.close()


def test_an_address_that_cannot_be_had_is_said(place: Place) -> None:
    app = create_app(SETTINGS, place.wakeups, place.health)
    with pytest.raises(EdgewrightError, match="choose another port"):
        Serving(app, port=place.address.port).start()
    with pytest.raises(EdgewrightError, match=r"203\.0\.113\.7:0.*\n.*address of this machine"):
        Serving(app, host="203.0.113.7").start()
    with pytest.raises(EdgewrightError, match="cannot listen"):
        Serving(app, host="no such host").start()
    with pytest.raises(EdgewrightError, match="cannot listen"):
        Serving(app, port=70_000).start()
    assert place.client.get("/healthz").status_code == 200


def test_an_application_that_does_not_start_is_said() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise EdgewrightError("no state")

    with pytest.raises(EdgewrightError, match="did not start"):
        Serving(broken).start()


def test_a_request_that_is_cut_off_at_the_end_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    begun = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        begun.set()
        await asyncio.sleep(PATIENCE)

    with (
        Serving(endless, stop_seconds=1) as served,
        socket.create_connection((served.address.host, served.address.port), PATIENCE) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(PATIENCE)
        served.stop()
    assert [record for record in caplog.records if record.exc_info] == []


def test_tls_is_served_from_a_certificate(tmp_path: Path) -> None:
    chain, key = self_signed(tmp_path, "one")
    app = create_app(SETTINGS, Debouncer(), ProcessHealth(role="active"))
    with Serving(app, tls=(chain, key)) as served:
        assert served.address.scheme == "https"
        trusting = ssl.create_default_context(cafile=str(chain))
        answer = httpx.get(f"{served.address.url}/healthz", verify=trusting, trust_env=False)
        assert answer.status_code == 200


def test_a_certificate_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    chain, key = self_signed(tmp_path, "one")
    _, other = self_signed(tmp_path, "two")
    _, locked = self_signed(tmp_path, "three", "-passout", "pass:secret")
    app = create_app(SETTINGS, Debouncer(), ProcessHealth(role="active"))
    for tls, words in (
        ((tmp_path / "none.pem", key), "cannot read .*none.pem"),
        ((chain, tmp_path), "cannot read"),
        ((chain, other), "belong together"),
        ((chain, chain), "PEM"),
        ((chain, locked), "without a password"),
    ):
        with pytest.raises(EdgewrightError, match=words):
            Serving(app, tls=tls).start()


def test_a_connection_that_only_sends_empty_lines_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection((place.address.host, place.address.port), PATIENCE) as connection:
        connection.sendall(ask)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < PATIENCE:
                connection.sendall(b"\r\n")
                connection.settimeout(0.02)
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        break
        assert time.monotonic() - begun < PATIENCE / 2


@pytest.mark.parametrize(
    "head", [b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000]
)
def test_a_head_that_is_too_large_is_refused(place: Place, head: bytes) -> None:
    said = _hang_up(place, head)
    assert said == b"" or said.startswith(b"HTTP/1.1 431"), "a reset may overtake the answer"
    assert place.client.get("/healthz").status_code == 200


def test_a_connection_is_kept_between_requests_that_pause(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock for headers does not run while nothing of a request has come."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.1)
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection((place.address.host, place.address.port), PATIENCE) as connection:
        for _ in range(2):
            connection.sendall(ask)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
            threading.Event().wait(0.3)
