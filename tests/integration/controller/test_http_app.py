"""The controller's HTTP server as forges, load balancers and strangers meet it: over real connections."""

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from edgewright.controller.health import Heartbeats, ProcessHealth
from edgewright.controller.wakeups import Debouncer, Wakeup
from edgewright.errors import EdgewrightError
from edgewright.secret import Secret
from edgewright.server import protocol
from edgewright.server.app import HookSettings, create_app
from edgewright.server.hooks.webhooks import RepositoryNames
from edgewright.server.request_log import routine
from edgewright.server.serving import Serving
from harness.asgi import live
from harness.profiles import examples
from samples.forge_payloads import FORGES, ForgeName, payload, sign
from servers.certificates import self_signed

SECRET = "correct horse battery staple"
PATIENCE = 30.0
SETTINGS = HookSettings((Secret(SECRET),), RepositoryNames.of(["acme/shelves"]), max_bytes=100_000)


class Place:
    """A served application, and what it woke."""

    def __init__(
        self, settings: HookSettings = SETTINGS, *routers: APIRouter, wakeups: Debouncer | None = None
    ) -> None:
        self.now = 0.0
        self.wakeups = wakeups or Debouncer(quiet=0.1, most=1.0)
        self.health = ProcessHealth(Heartbeats(lambda: self.now), role="active")
        self.serving = Serving(create_app(settings, self.wakeups, self.health, routers=routers), stop_seconds=1)
        self.address = self.serving.start()
        self.client = httpx.Client(base_url=self.address.url, timeout=PATIENCE, trust_env=False)

    def close(self) -> None:
        self.client.close()
        self.serving.stop()

    def send(self, forge: ForgeName, headers: dict[str, str], body: Any) -> httpx.Response:
        return self.client.post(f"/hooks/{forge}", headers=headers, content=body)

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back until the server closes the connection."""
        with socket.create_connection((self.address.host, self.address.port), PATIENCE) as connection:
            connection.sendall(data)
            return _rest(connection)


def _rest(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def delivery(forge: ForgeName = "github", event: Any = "push", **facts: Any) -> tuple[dict[str, str], bytes]:
    headers, body = payload(forge, event, **facts)
    return sign(forge, SECRET, headers, body), body


@pytest.mark.parametrize("forge", FORGES)
def test_a_signed_webhook_wakes_the_controller(place: Place, forge: ForgeName) -> None:
    answer = place.send(forge, *delivery(forge))
    assert (answer.status_code, answer.json()) == (202, {"accepted": True, "kind": "push"})
    assert place.wakeups.wait(PATIENCE) == Wakeup(1, frozenset())
    assert place.send(forge, *delivery(forge, "pull_request", number=41)).json()["kind"] == "pull_request"
    assert place.wakeups.wait(PATIENCE) == Wakeup(1, frozenset({41}))


def test_each_answer_says_what_to_do(place: Place) -> None:
    headers, body = delivery()
    forged = headers | {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    odd = sign("github", SECRET, {"Content-Type": "text/xml"}, b"<x/>")
    nonsense = sign("github", SECRET, {"Content-Type": "application/json"}, b"hello")
    assert place.send("github", *delivery(event="ping")).status_code == 200
    assert place.send("github", *delivery(repository="acme/other")).json()["accepted"] is False
    assert place.send("github", forged, body).status_code == 401
    assert place.send("github", {}, body).status_code == 401
    assert place.send("github", odd, b"<x/>").status_code == 415
    assert place.send("github", nonsense, b"hello").status_code == 400
    assert place.client.post("/hooks/sourcehut", headers=headers, content=body).status_code == 404
    assert place.client.get("/hooks/github").status_code == 405
    assert place.send("azure", {}, body).headers["www-authenticate"].startswith("Basic ")
    assert place.wakeups.wait(0) is None


def test_a_body_over_the_limit_is_cut_off(place: Place) -> None:
    limit = SETTINGS.max_bytes
    inside = {"event": "push", "padding": "x" * (limit - 100)}
    body = json.dumps(inside).encode()
    assert place.send("generic", sign("generic", SECRET, {}, body), body).status_code == 202
    for size in (limit + 1, 3 * limit, 50 * limit):
        assert place.send("generic", {}, b"x" * size).status_code == 413
    chunked = (b"x" * 10_000 for _ in range(30))
    assert place.send("generic", {}, chunked).status_code == 413
    lying = b"POST /hooks/generic HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n" + b"x" * 20
    assert place.raw(lying).startswith(b"HTTP/1.1 401")
    endless = b"POST /hooks/generic HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"
    assert place.send("generic", *delivery("generic")).status_code == 202
    with socket.create_connection((place.address.host, place.address.port), PATIENCE) as connection:
        connection.sendall(endless)
        connection.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 202" not in _rest(connection)


def test_nothing_of_what_was_sent_is_repeated(place: Place) -> None:
    marker = "canary-4711"
    body = json.dumps({"event": marker, "repository": f"acme/{marker}"}).encode()
    for headers in ({}, sign("generic", SECRET, {}, body)):
        assert marker not in place.send("generic", headers, body).text
    assert marker not in place.client.post(f"/hooks/{marker}").text
    assert marker not in place.client.get(f"/{marker}").text


def test_answers_keep_browsers_careful_and_say_little(place: Place) -> None:
    for answer in (place.client.get("/healthz"), place.client.get("/nowhere"), place.send("github", {}, b"")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    for page in ("/docs", "/redoc", "/openapi.json"):
        assert place.client.get(page).status_code == 404


def test_every_request_is_logged_without_its_contents(place: Place) -> None:
    headers, body = delivery(delivery="d-17", title="canary-4711")
    with capture_logs() as lines:
        place.send("github", headers, body)
        place.client.post("/hooks/github?token=canary-4711", headers={"Authorization": "canary-4711"})
        place.close()
    accepted, refused = lines
    assert {**accepted, "ms": 0} == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "path": "/hooks/github",
        "status": 202,
        "ms": 0,
        "forge": "github",
        "delivery": "d-17",
        "outcome": "push",
    }
    assert (refused["status"], refused["outcome"]) == (401, "not-authentic")
    assert "'status': 202" in repr(accepted)
    assert SECRET not in repr(lines)
    assert "canary-4711" not in repr(lines)


def test_what_devices_ask_all_day_has_a_line_only_where_it_went_wrong() -> None:
    router = APIRouter()

    @router.get("/devices/{status}")
    async def answer(status: int, request: Request) -> Response:
        routine(request)
        return Response(status_code=status)

    place = Place(SETTINGS, router)
    with capture_logs() as lines:
        for status in (200, 204, 304, 401, 503, 500):
            place.client.get(f"/devices/{status}")
        place.close()
    levels = [(line["status"], line["log_level"]) for line in lines]
    assert levels[:3] == [(200, "debug"), (204, "debug"), (304, "debug")]
    assert levels[3:] == [(401, "info"), (503, "info"), (500, "error")]


def test_without_a_secret_everything_is_refused_and_said_at_start() -> None:
    with capture_logs() as lines:
        place = Place(HookSettings())
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "no webhook secret" in lines[0]["event"]
    answer = place.send("github", *delivery())
    place.close()
    assert answer.status_code == 401
    assert "no webhook secret" in answer.json()["error"]
    assert place.wakeups.wait(0) is None


def test_a_hundred_webhooks_at_once_are_one_wake_up() -> None:
    place = Place(wakeups=Debouncer(quiet=0.5, most=PATIENCE))
    deliveries = [delivery(FORGES[at % len(FORGES)], "pull_request", number=at + 1) for at in range(100)]
    ready = threading.Barrier(20)

    def send(at: int) -> int:
        if at < 20:
            ready.wait(PATIENCE)
        return place.send(FORGES[at % len(FORGES)], *deliveries[at]).status_code

    debouncer = place.wakeups
    with ThreadPoolExecutor(21) as pool:
        waiting = pool.submit(debouncer.wait, PATIENCE)
        answers = list(pool.map(send, range(100)))
        wakeup = waiting.result(PATIENCE)
    assert answers == [202] * 100
    place.close()
    assert wakeup == Wakeup(100, frozenset(range(1, 101)))
    assert debouncer.wait(0) is None


def test_a_body_that_dawdles_is_given_up() -> None:
    place = Place(replace(SETTINGS, body_seconds=0.1))
    request = b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhal"
    with capture_logs() as lines:
        assert place.raw(request).startswith(b"HTTP/1.1 408")
        assert place.send("github", *delivery()).status_code == 202
        place.close()
    assert [line["status"] for line in lines] == [408, 202]


def test_headers_that_dawdle_are_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.1)
    assert place.raw(b"") == b""
    assert place.raw(b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert place.raw(ask + ask + b"GET /he").count(b"HTTP/1.1 200") == 2


def test_bodies_together_hold_no_more_than_they_may() -> None:
    place = Place(replace(SETTINGS, held_bytes=1_000, body_seconds=PATIENCE))
    stuck = b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n" + b"x" * 900
    headers, body = delivery("generic")
    with socket.create_connection((place.address.host, place.address.port), PATIENCE) as connection:
        connection.sendall(stuck)
        sent = (place.send("generic", *delivery("generic")).status_code for _ in range(10_000))
        assert 503 in itertools.dropwhile(lambda status: status == 202, sent)
    again = (place.send("generic", headers, body).status_code for _ in range(10_000))
    assert 202 in again
    place.close()


def test_health_is_of_the_loops_and_readiness_of_the_role(place: Place) -> None:
    place.health.heartbeats.expect("fetch", timedelta(seconds=60))
    place.health.report("git", True)
    assert place.client.get("/healthz").json() == {
        "alive": True,
        "checks": [{"name": "fetch", "ok": True, "message": ""}],
    }
    ready = place.client.get("/readyz")
    assert (ready.status_code, ready.json()["role"]) == (200, "active")
    place.health.role = "standby"
    assert place.client.get("/readyz").json()["role"] == "standby"
    assert place.client.get("/readyz").status_code == 200
    place.health.report("git", False, "not reached for 10 m")
    unready = place.client.get("/readyz")
    assert unready.status_code == 503
    assert unready.json()["checks"] == [{"name": "git", "ok": False, "message": "not reached for 10 m"}]
    place.now = 61.0
    assert place.client.get("/healthz").status_code == 503
    assert place.client.head("/healthz").status_code == 503


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
