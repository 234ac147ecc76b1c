"""The controller's HTTP server as forges, load balancers and strangers meet it: over real connections."""

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi import APIRouter, Request, Response
from structlog.testing import capture_logs

from edgewright.controller.wakeups import Debouncer, Wakeup
from edgewright.server import protocol
from edgewright.server.app import HookSettings
from edgewright.server.request_log import routine
from samples.forge_payloads import FORGES, ForgeName, sign
from worlds.webhook_app import PATIENCE, SECRET, SETTINGS, Place, _rest, delivery


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


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
