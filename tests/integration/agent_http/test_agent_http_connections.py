"""The agent's HTTP: TLS, names, proxies, servers that say nothing or never end."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgewright_agent.background import Background
from edgewright_agent.errors import SettingsError, TransportError
from edgewright_agent.http.client import HttpClient
from edgewright_agent.identity.enrollment_client import NoIdentities
from edgewright_agent.repository.http_transport import HttpReports, HttpRepository
from edgewright_wire.layout import blob_path
from servers.agent_api import BASE, AgentServer, plain_server
from servers.authority import Authority
from worlds.agent_client import BLOB, DATA, TIMESTAMP, client, read, repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in {blob_path(BLOB.digest): DATA, TIMESTAMP: b'{"version": 1}'}.items():
        (tmp_path / "repository" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repository" / name).write_bytes(data)
    return tmp_path / "repository"


@pytest.fixture
def server(folder: Path) -> Iterator[AgentServer]:
    with plain_server(folder) as server:
        yield server


@pytest.mark.parametrize("wrong", ["authority", "name", "future", "past", "no ca"])
def test_a_server_that_is_not_the_right_one_is_refused_with_a_hint(tmp_path: Path, folder: Path, wrong: str) -> None:
    authority, now = Authority(), datetime.now(UTC)
    ca: Path | None = authority.write(tmp_path / "ca.crt")
    dates = {"future": now + timedelta(days=1), "past": now - timedelta(days=90)}
    names = ("elsewhere.example",) if wrong == "name" else ("localhost",)
    certificate, _ = authority.server(tmp_path / "tls", names, dates.get(wrong))
    if wrong == "authority":
        ca = Authority().write(tmp_path / "other.crt")
    if wrong == "no ca":
        ca = None
    hint = {
        "authority": "ca = FILE",
        "no ca": "ca = FILE",
        "name": "not for 127.0.0.1",
        "future": "clock right",
        "past": "expired",
    }[wrong]
    with AgentServer(folder, authority, certificate) as server:
        reader = HttpRepository(f"{server.url}/repository", client(ca=ca))
        with pytest.raises(TransportError, match=hint) as caught:
            read(reader, TIMESTAMP)
    assert server.url in caught.value.message
    assert not server.seen


def test_an_authority_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("not a certificate")
    for path in (tmp_path / "ca.crt", tmp_path / "nowhere.crt"):
        with pytest.raises(SettingsError, match=path.name):
            client(ca=path)


def test_what_is_wrong_with_a_connection_is_named(server: AgentServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    for url, says in {
        closed: "refused: does the server run",
        "http://no-such-host.invalid": "cannot be resolved",
        server.url.replace("http:", "https:"): "TLS",
    }.items():
        with pytest.raises(TransportError, match=says) as caught:
            read(HttpRepository(url, client()), TIMESTAMP)
        assert url in caught.value.message


def test_a_server_that_says_nothing_is_left_after_the_timeout(server: AgentServer) -> None:
    server.silent.set()
    with pytest.raises(TransportError, match=r"nothing came for 0\.2 s"):
        read(HttpRepository(f"{server.url}/repository", client(timeout=0.2)), TIMESTAMP)


def test_a_stop_does_not_wait_for_a_server_that_says_nothing(server: AgentServer) -> None:
    server.silent.set()
    stop = threading.Event()
    reader = HttpRepository(
        f"{server.url}/repository", HttpClient("RepositoryUnreachable", 60.0, call=Background(stop.is_set))
    )
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(TransportError, match="stopped"):
        read(reader, TIMESTAMP)
    assert time.monotonic() - begun < 5.0


def test_a_stop_in_the_middle_of_an_answer_does_not_wait_for_its_rest() -> None:
    stop = threading.Event()
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun", silent=True) as url:
        chunks = HttpRepository(url, HttpClient("RepositoryUnreachable", 60.0, call=Background(stop.is_set))).read(
            "blobs/sha256/ab"
        )
        assert next(chunks) == b"begun"
        threading.Timer(0.1, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(TransportError, match="stopped"):
            next(chunks)
        assert time.monotonic() - begun < 5.0


def test_headers_that_never_end_are_not_waited_for() -> None:
    """Each byte comes within the time-out; a server that does that on purpose could hold a device for ever."""
    with answering(b"HTTP/1.1 200 OK\r\nX-Slow: ", drip=b"s") as url:
        slow = HttpClient("RepositoryUnreachable", 0.5, call=Background(lambda: False))
        with pytest.raises(TransportError, match="altogether"):
            read(HttpRepository(url, slow), TIMESTAMP)
        with pytest.raises(TransportError, match="altogether"):
            read(HttpRepository(url, slow), TIMESTAMP)


RAW = {
    "nothing": b"",
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of its own": b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "an endless line": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n",
    "a chunk that is cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",
    "a redirect nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n",
    "a redirect elsewhere": b"HTTP/1.1 302 Found\r\nLocation: gopher://x\r\nContent-Length: 0\r\n\r\n",
    "a redirect to a port": b"HTTP/1.1 302 Found\r\nLocation: https://x:99999/\r\nContent-Length: 0\r\n\r\n",
    "a redirect without end": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    "an unknown file": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "strange letters": b"HTTP/1.1 503 \xff\r\nRetry-After: \xff\r\nETag: \xff\r\nContent-Length: 1\r\n\r\n\xff",
}


@pytest.mark.parametrize("kind", RAW)
def test_whatever_a_server_says_is_an_error_with_a_name(kind: str) -> None:
    with answering(RAW[kind]) as url:
        for call in (lambda: read(HttpRepository(url, client(timeout=5.0)), TIMESTAMP), lambda: report_to(url)):
            with pytest.raises(TransportError, match=r"127\.0\.0\.1") as caught:
                call()
            assert caught.value.message.isprintable()
            assert len(caught.value.message) < 1000


def report_to(url: str) -> None:
    HttpReports(url, NoIdentities(), lambda _: client(timeout=5.0)).send("dev-1", b'{"device": "dev-1"}')


@contextmanager
def answering(answer: bytes, *, silent: bool = False, drip: bytes = b"") -> Iterator[str]:
    """A server that reads a request and says this, then closes; or says no more; or says a bit more now and then."""
    ended = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            asked = b""
            while b"\r\n\r\n" not in asked and (more := connection.recv(65536)):
                asked += more
            connection.sendall(answer)
            while drip and not ended.wait(0.05):
                connection.sendall(drip)
            if silent:
                ended.wait(30)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def test_a_connection_the_server_closed_meanwhile_is_replaced(server: AgentServer, folder: Path) -> None:
    """A kept connection is often dead when it is used again; that is no failure."""
    reader = repository(server)
    read(reader, TIMESTAMP)
    server.break_connections()
    assert read(reader, TIMESTAMP) == b'{"version": 1}'
    assert len({seen.connection for seen in server.seen}) == 2


class Proxy:
    """An HTTP proxy that notes where it is asked to go, and answers itself."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                asked = b""
                while b"\r\n\r\n" not in asked and (more := connection.recv(4096)):
                    asked += more
                self.asked.append(asked)
                status = b"200 OK" if asked.startswith(b"GET") else b"403 Forbidden"
                connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    made = Proxy()
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://device:s3cret@127.0.0.1:{made.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    yield made
    made.close()


def test_the_environments_proxy_is_used_with_its_password_and_never_shown(proxy: Proxy) -> None:
    assert read(HttpRepository("http://repository.example", client()), TIMESTAMP) == b"{}"
    assert proxy.asked[0].startswith(b"GET http://repository.example/metadata/timestamp.json ")
    with pytest.raises(TransportError, match=f"proxy http://127.0.0.1:{proxy.port}") as caught:
        read(HttpRepository("https://repository.example", client()), TIMESTAMP)
    assert proxy.asked[1].startswith(b"CONNECT repository.example:443 ")
    assert all(re.search(rb"(?i)proxy-authorization: basic ZGV2aWNlOnMzY3JldA==", asked) for asked in proxy.asked)
    assert "s3cret" not in caught.value.message


def test_this_very_machine_and_what_no_proxy_names_are_reached_directly(
    proxy: Proxy, server: AgentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(repository(server), TIMESTAMP) == b'{"version": 1}'
    monkeypatch.setenv("no_proxy", "no-such-host.invalid")
    with pytest.raises(TransportError, match="resolved"):
        read(HttpRepository("http://no-such-host.invalid", client()), TIMESTAMP)
    assert not proxy.asked


def test_the_base_is_what_the_contract_says(server: AgentServer) -> None:
    read(repository(server), TIMESTAMP)
    assert server.seen[0].path == f"{BASE}/repository/{TIMESTAMP}"
    assert server.seen[0].headers["User-Agent"].startswith("edgewright-agent/")
