"""Polls of a published repository over HTTP, and what is remembered for them."""

import gc
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from edgewright import durable
from edgewright.controller.health import ProcessHealth
from edgewright.controller.wakeups import Debouncer
from edgewright.errors import StateUnavailable
from edgewright.server.app import HookSettings, create_app
from edgewright.server.devices import repository_files, repository_polls
from edgewright.server.devices.agent_app import AgentApp
from edgewright.server.devices.agent_service import AgentService
from edgewright.server.devices.repository_polls import poll_seconds
from edgewright.server.serving import Serving
from edgewright_wire.messages import Assignment
from rigs.base import content_of
from samples.agent_packages import a_package
from servers.agent_server import INSECURE, PATIENCE, AgentSite, base
from worlds.published_place import TIMESTAMP, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    site = AgentSite(tmp_path / "site")
    package = a_package(1)
    assert site.repository.publish([content_of(package, tmp_path / "blobs")]) == {}
    site.repository.assign([Assignment(device="lane-1", version=1)], {})
    with site.served() as serving:
        made = Place(site, f"{base(serving)}/repository")
        yield made
        made.client.close()
    site.close()


def test_a_poll_hears_of_what_is_published_at_once(place: Place) -> None:
    for version in range(2, 12):
        place.assign(version)
        content = (place.site.published / TIMESTAMP).read_bytes()
        until = time.monotonic() + PATIENCE
        while place.get(TIMESTAMP).content != content:
            assert time.monotonic() < until


def test_polls_are_answered_from_memory_as_the_application_would(place: Place) -> None:
    """The first is answered by the application, those after it at once; pipelined and mixed with others, too."""
    first = place.get(TIMESTAMP)
    second = place.get(TIMESTAMP)
    third = place.get(TIMESTAMP, Range="bytes=0-3")
    assert first.content == second.content == third.content
    for name in ("etag", "last-modified", "cache-control", "edgewright-poll", "content-type", "content-length"):
        assert first.headers[name] == second.headers[name]
    assert place.get(TIMESTAMP, If_None_Match=first.headers["etag"]).content == b""
    where = urlsplit(place.url)
    asked = f"GET {where.path}/{TIMESTAMP} HTTP/1.1\r\nHost: x\r\n"
    unchanged = f"If-None-Match: {first.headers['etag']}\r\n\r\n"
    with socket.create_connection((where.hostname, where.port), PATIENCE) as connection:
        connection.sendall((asked + unchanged).encode() * 50 + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.sendall((asked + unchanged).encode() * 50 + (asked + "Connection: close\r\n" + unchanged).encode())
        said = b""
        while piece := connection.recv(1 << 16):
            said += piece
    assert said.count(b"HTTP/1.1 304") == 101
    assert said.count(b"HTTP/1.1 200") == 1
    assert said.index(b"alive") < said.rindex(b"HTTP/1.1 304")


def test_the_interval_grows_with_the_fleet(place: Place) -> None:
    assert [poll_seconds(devices) for devices in (0, 10, 2_500, 2_501, 100_000, 10**9)] == [5, 5, 5, 6, 200, 3600]
    assert all(devices / poll_seconds(devices) <= 500 for devices in range(0, 1_000_000, 997))
    assert place.get(TIMESTAMP).headers["edgewright-poll"] == "5"


def test_a_held_poll_is_answered_when_something_is_published(place: Place) -> None:
    tag = place.get(TIMESTAMP).headers["etag"]
    with ThreadPoolExecutor(20) as pool:
        held = [pool.submit(place.get, TIMESTAMP, If_None_Match=tag, Prefer="wait=30") for _ in range(20)]
        _wait_for_held(place, 20)
        begun = time.monotonic()
        place.assign(2)
        answers = [poll.result(PATIENCE) for poll in held]
    assert time.monotonic() - begun < 5
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["preference-applied"] for answer in answers} == {"wait=30"}
    assert {answer.content for answer in answers} == {(place.site.published / TIMESTAMP).read_bytes()}


def _wait_for_held(place: Place, count: int) -> None:
    """Wait until the server holds so many polls: it holds a connection for each, and answers none."""
    until = time.monotonic() + PATIENCE
    while _held() < count:
        assert time.monotonic() < until
        threading.Event().wait(0.01)


def _held() -> int:
    return sum(len(each._waiting) for each in gc.get_objects() if isinstance(each, repository_polls.Polls))


def test_a_poll_that_nothing_happens_for_ends_in_time(place: Place) -> None:
    tag = place.get(TIMESTAMP).headers["etag"]
    begun = time.monotonic()
    answer = place.get(TIMESTAMP, If_None_Match=tag, Prefer="respond-async, wait=1")
    assert 0.9 < time.monotonic() - begun < 10
    assert (answer.status_code, answer.headers["preference-applied"]) == (304, "wait=1")
    begun = time.monotonic()
    assert place.get(TIMESTAMP, If_None_Match='"other"', Prefer="wait=30").status_code == 200
    assert place.get(TIMESTAMP, Prefer="wait=30").status_code == 200
    assert place.get(TIMESTAMP, If_None_Match=tag, Prefer="wait=0").status_code == 304
    assert time.monotonic() - begun < 10


def test_so_many_are_held_and_those_who_hang_up_make_place(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository_polls, "MOST_WAITING", 2)
    tag = place.get(TIMESTAMP).headers["etag"]
    where = urlsplit(place.url)
    asked = f"GET {where.path}/{TIMESTAMP} HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\nIf-None-Match: {tag}\r\n\r\n"
    held = [socket.create_connection((where.hostname, where.port), PATIENCE) for _ in range(2)]
    for connection in held:
        connection.sendall(asked.encode())
    _wait_for_held(place, 2)
    crowded = place.get(TIMESTAMP, If_None_Match=tag, Prefer="wait=60")
    assert crowded.status_code == 304
    assert "preference-applied" not in crowded.headers
    for connection in held:
        connection.close()
    until = time.monotonic() + PATIENCE
    while _held():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


def test_stopping_lets_go_of_held_polls(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    with ThreadPoolExecutor(10) as pool:
        with site.served() as serving:
            place = Place(site, f"{base(serving)}/repository")
            tag = place.get(TIMESTAMP).headers["etag"]
            held = [pool.submit(place.get, TIMESTAMP, If_None_Match=tag, Prefer="wait=60") for _ in range(10)]
            _wait_for_held(place, 10)
            begun = time.monotonic()
        assert time.monotonic() - begun < 2
        assert {poll.result(PATIENCE).status_code for poll in held} == {304}
    place.client.close()
    site.close()


def test_a_repository_that_comes_later_is_served_from_then_on(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    hidden = site.published.with_name("hidden")
    site.published.rename(hidden)
    with site.served() as serving:
        place = Place(site, f"{base(serving)}/repository")
        assert place.get(TIMESTAMP).status_code == 404
        hidden.rename(site.published)
        until = time.monotonic() + PATIENCE
        while place.get(TIMESTAMP, Prefer="wait=1").status_code != 200:
            assert time.monotonic() < until
        tag = place.get(TIMESTAMP).headers["etag"]
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(place.get, TIMESTAMP, If_None_Match=tag, Prefer="wait=30")
            _wait_for_held(place, 1)
            durable.write_atomic(site.published / TIMESTAMP, b"{}")
            assert held.result(PATIENCE).content == b"{}"
        place.client.close()
    site.close()


def test_small_files_are_remembered_for_a_moment_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was damaged and mended must not stay damaged for devices."""
    file = place.site.published / "blobs/sha256" / ("2" * 64)
    path = f"blobs/sha256/{file.name}"
    file.write_bytes(b"damaged")
    assert place.get(path).content == b"damaged"
    file.write_bytes(b"mended!")
    assert place.get(path).content == b"damaged"
    monkeypatch.setattr(repository_files, "_KEPT_SECONDS", 0.0)
    other = file.with_name("3" * 64)
    other.write_bytes(b"damaged")
    assert place.get(f"blobs/sha256/{other.name}").content == b"damaged"
    other.write_bytes(b"mended!")
    assert place.get(f"blobs/sha256/{other.name}").content == b"mended!"
    part = place.get(path, Range="bytes=2-3")
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"ma", "bytes 2-3/7")


def test_what_is_remembered_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository_files, "_MOST_KEPT", 1_000)
    for number in range(20):
        name = f"{number:064x}"
        (place.site.published / "blobs/sha256" / name).write_bytes(bytes([number]) * 300)
        for _ in range(2):
            assert place.get(f"blobs/sha256/{name}").content == bytes([number]) * 300
    found = (each for each in gc.get_objects() if isinstance(each, repository_files.RepositoryFiles))
    kept = [each for each in found if each._folder == place.site.published]
    assert max(each._kept_bytes for each in kept) <= 1_000
    assert all(each._kept_bytes == sum(len(k.content) for k in each._kept.values()) for each in kept)


def test_an_environment_that_is_not_ready_says_when_to_come_again(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    ready = threading.Event()
    asked: list[str] = []

    def find(name: str) -> AgentService | None:
        asked.append(name)
        if name == "east" and not ready.is_set():
            raise StateUnavailable("nothing is in force yet")
        return desk if name == "east" else None

    with site.desk() as desk:
        app = AgentApp(find, INSECURE, create_app(HookSettings(), Debouncer(), ProcessHealth(role="active")))
        with Serving(app, instant=app.instant) as serving:
            url = f"{serving.address.url}/agent/east/repository/{TIMESTAMP}"
            begun = time.monotonic()
            for _ in range(5):
                answer = httpx.get(url, trust_env=False)
                assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)
                assert httpx.get(url.replace("east", "nowhere"), trust_env=False).status_code == 404
            seconds = time.monotonic() - begun
            assert asked.count("east") <= 2 + seconds, "the store is asked once a second, not for every request"
            ready.set()
            until = time.monotonic() + PATIENCE
            while httpx.get(url, trust_env=False).status_code != 200:
                assert time.monotonic() < until
            for path in ("", "/", "/agent", "/agent/", "/agent/east", "/agent/east/", "/agent/east/more"):
                assert httpx.get(f"{serving.address.url}{path}", trust_env=False).status_code == 404
    site.close()
