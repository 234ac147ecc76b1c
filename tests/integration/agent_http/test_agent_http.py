"""The agent's HTTP: what goes over the wire, what goes wrong on it, and what is said then."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.errors import Changed, NotFound, TransportError
from edgewright_agent.identity.enrollment_client import NoIdentities
from edgewright_agent.repository.blobs import Blobs
from edgewright_agent.repository.http_transport import HttpReports, HttpRepository
from edgewright_wire.layout import blob_path
from servers.agent_api import AgentServer, plain_server, tls_server
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


def test_one_connection_serves_many_requests(server: AgentServer) -> None:
    reader = repository(server)
    for _ in range(5):
        read(reader, TIMESTAMP)
        read(reader, blob_path(BLOB.digest))
        with pytest.raises(NotFound):
            read(reader, "metadata/2.root.json")
    assert len({seen.connection for seen in server.seen}) == 1


def test_an_unchanged_timestamp_costs_a_conditional_request(server: AgentServer, folder: Path) -> None:
    reader = repository(server)
    first, second = read(reader, TIMESTAMP), read(reader, TIMESTAMP)
    (folder / TIMESTAMP).write_bytes(b'{"version": 2}')
    third, fourth = read(reader, TIMESTAMP), read(reader, TIMESTAMP)
    assert [first, second, third, fourth] == [b'{"version": 1}'] * 2 + [b'{"version": 2}'] * 2
    assert [seen.status for seen in server.seen] == [200, 304, 200, 304]


def test_a_blob_goes_on_exactly_where_it_broke_off(tmp_path: Path, server: AgentServer) -> None:
    server.break_after = 150_000
    reader, blobs = repository(server), Blobs(tmp_path / "blobs", Disk(sync=lambda _: None))
    for _ in range(3):
        with pytest.raises(TransportError, match="broke off"):
            while not blobs.fetch(BLOB, reader, lambda: False):
                pass
    server.break_after = None
    while not blobs.fetch(BLOB, reader, lambda: False):
        pass
    assert blobs.path(BLOB.digest).read_bytes() == DATA
    begins = [seen.headers.get("Range") for seen in server.asked(blob_path(BLOB.digest))]
    assert begins == [None, "bytes=150000-", "bytes=300000-", "bytes=450000-"]


def test_a_stop_and_a_restart_go_on_where_it_was(tmp_path: Path, server: AgentServer) -> None:
    blobs = Blobs(tmp_path / "blobs", Disk(sync=lambda _: None))
    assert not blobs.fetch(BLOB, repository(server), lambda: True), "stopped after the first chunk"
    have = blobs.path(BLOB.digest).with_suffix(".part").stat().st_size
    assert 0 < have < len(DATA)
    again = Blobs(tmp_path / "blobs", Disk(sync=lambda _: None))
    while not again.fetch(BLOB, repository(server), lambda: False):
        pass
    assert server.asked(blob_path(BLOB.digest))[-1].headers["Range"] == f"bytes={have}-"
    assert again.path(BLOB.digest).read_bytes() == DATA


def test_slices_of_a_blob_are_one_request(tmp_path: Path, server: AgentServer) -> None:
    clock = iter(range(10_000))
    blobs = Blobs(tmp_path / "blobs", Disk(sync=lambda _: None), clock=lambda: next(clock))
    reader, slices = repository(server), 1
    while not blobs.fetch(BLOB, reader, lambda: False):
        slices += 1
    assert slices > 3, "the agent looked after other things in between"
    assert len(server.asked(blob_path(BLOB.digest))) == 1


def test_a_file_that_changed_since_it_was_begun_is_begun_anew(
    tmp_path: Path, server: AgentServer, folder: Path
) -> None:
    """What was fetched of a damaged copy is not completed with the rest of a sound one."""
    path = folder / blob_path(BLOB.digest)
    path.write_bytes(b"x" * len(DATA))
    reader, blobs = repository(server), Blobs(tmp_path / "blobs", Disk(sync=lambda _: None))
    blobs.fetch(BLOB, reader, lambda: True)
    blobs.hang_up()
    path.write_bytes(DATA)
    with pytest.raises(Changed, match="anew"):
        blobs.fetch(BLOB, reader, lambda: False)
    while not blobs.fetch(BLOB, reader, lambda: False):
        pass
    assert blobs.path(BLOB.digest).read_bytes() == DATA
    assert [seen.status for seen in server.asked(blob_path(BLOB.digest))] == [200, 200, 200]


def test_servers_that_disagree_about_a_tag_do_not_keep_a_blob_from_coming(
    tmp_path: Path, server: AgentServer, folder: Path
) -> None:
    """Several servers behind one name often give one file several tags."""
    reader, blobs = repository(server), Blobs(tmp_path / "blobs", Disk(sync=lambda _: None))
    path = folder / blob_path(BLOB.digest)
    server.break_after = 100_000
    for padding in range(1, 6):
        # What follows the promised length changes the tag, and is never reached: each answer breaks off before.
        path.write_bytes(DATA + b"p" * padding)
        with pytest.raises(TransportError):
            while not blobs.fetch(BLOB, reader, lambda: False):
                pass
    path.write_bytes(DATA)
    server.break_after = None
    while not blobs.fetch(BLOB, reader, lambda: False):
        pass
    asked = server.asked(blob_path(BLOB.digest))
    assert [seen.status for seen in asked] == [200, 200, 200, 206, 206, 206], "begun anew once; the digest decides"


def test_what_a_server_without_ranges_repeats_is_counted(server: AgentServer) -> None:
    server.ranges = False
    discarded: list[int] = []
    reader = repository(server, discarded.append)
    assert read(reader, blob_path(BLOB.digest), 300_000) == DATA[300_000:]
    assert sum(discarded) == 300_000


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_how_long_to_leave_it_alone(server: AgentServer, status: int) -> None:
    server.instead[TIMESTAMP] = (status, {"Retry-After": "17"}, b'{"error": "too many"}')
    with pytest.raises(TransportError, match=r"busy.*too many") as caught:
        read(repository(server), TIMESTAMP)
    assert (caught.value.reason, caught.value.retry_after) == ("RepositoryBusy", 17.0)


def test_a_page_of_html_is_no_file_and_its_title_is_shown(server: AgentServer) -> None:
    server.instead[TIMESTAMP] = (502, {}, b"<html><title>Bad\nGateway</title><body>" + b"x" * 9000)
    with pytest.raises(TransportError, match=r"timestamp\.json: answered with HTTP 502: Bad Gateway"):
        read(repository(server), TIMESTAMP)


def test_compression_that_was_not_asked_for_is_named(server: AgentServer) -> None:
    server.instead[TIMESTAMP] = (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")
    with pytest.raises(TransportError, match="compressed"):
        read(repository(server), TIMESTAMP)


def test_another_range_than_was_asked_for_is_refused(server: AgentServer) -> None:
    server.instead[blob_path(BLOB.digest)] = (206, {"Content-Range": "bytes 0-9/10"}, DATA[:10])
    with pytest.raises(TransportError, match="range"):
        read(repository(server), blob_path(BLOB.digest), 5)


def test_a_redirect_within_the_origin_is_followed(server: AgentServer) -> None:
    server.instead["moved.json"] = (302, {"Location": TIMESTAMP}, b"")
    assert read(repository(server), "moved.json") == b'{"version": 1}'


def test_a_redirect_from_plain_http_to_https_is_followed(tmp_path: Path, server: AgentServer, folder: Path) -> None:
    with tls_server(folder, tmp_path / "tls") as secure:
        server.instead[TIMESTAMP] = (301, {"Location": f"{secure.url}/repository/{TIMESTAMP}"}, b"")
        reader = HttpRepository(f"{server.url}/repository", client(ca=tmp_path / "tls" / "ca.crt"))
        assert read(reader, TIMESTAMP) == b'{"version": 1}'


def test_a_redirect_away_to_plain_http_is_not_followed(tmp_path: Path, server: AgentServer, folder: Path) -> None:
    with tls_server(folder, tmp_path / "tls") as secure:
        secure.instead[TIMESTAMP] = (301, {"Location": f"{server.url}/repository/{TIMESTAMP}"}, b"")
        reader = HttpRepository(f"{secure.url}/repository", client(ca=tmp_path / "tls" / "ca.crt"))
        with pytest.raises(TransportError, match="redirects to http://"):
            read(reader, TIMESTAMP)
    assert not server.seen


def test_a_circle_of_redirects_ends(server: AgentServer) -> None:
    server.instead[TIMESTAMP] = (302, {"Location": "timestamp.json"}, b"")
    with pytest.raises(TransportError, match="circle"):
        read(repository(server), TIMESTAMP)
    assert len(server.seen) == 6


def test_a_report_is_not_carried_to_another_origin(server: AgentServer, folder: Path) -> None:
    with plain_server(folder) as other:
        server.instead["/reports"] = (307, {"Location": f"{other.url}/reports"}, b"")
        drop = HttpReports(f"{server.url}/reports", NoIdentities(), lambda _: client())
        with pytest.raises(TransportError, match=r"agent\.toml"):
            drop.send("dev-1", b'{"device": "dev-1"}')
        assert not other.seen


def test_reports_are_compressed_and_their_connection_kept(server: AgentServer) -> None:
    kept = client()
    drop = HttpReports(f"{server.url}/reports", NoIdentities(), lambda _: kept)
    report = json.dumps({"device": "dev-1", "message": "m" * 5000}).encode()
    for _ in range(3):
        drop.send("dev-1", report)
    asked = server.asked("/reports", "POST")
    assert {seen.headers["Content-Encoding"] for seen in asked} == {"gzip"}
    assert all(int(seen.headers["Content-Length"]) < 500 for seen in asked)
    assert len({seen.connection for seen in asked}) == 1


@pytest.mark.parametrize(
    ("status", "body", "reason", "says"),
    [
        (503, b"", "ServerBusy", "busy"),
        (413, b"", "ReportTooLarge", "as long"),
        (422, b'{"error": "models.0.phase: unknown"}', "ReportRefused", "models.0.phase"),
        (401, b"", "CertificateRefused", "certificate"),
        (403, b'{"error": "of dev-2", "reason": "OtherDevice"}', "OtherDevice", "of dev-2"),
        (403, b'{"error": "", "reason": "Retired"}', "Retired", "retired"),
        (404, b"", "ReportsUnreachable", "server in agent.toml"),
        (500, b"out of memory", "ReportsUnreachable", "HTTP 500: out of memory"),
    ],
)
def test_a_report_that_is_not_taken_says_why(
    server: AgentServer, status: int, body: bytes, reason: str, says: str
) -> None:
    server.instead["/reports"] = (status, {"Retry-After": "90000"}, body)
    drop = HttpReports(f"{server.url}/reports", NoIdentities(), lambda _: client())
    with pytest.raises(TransportError, match=says) as caught:
        drop.send("dev-1", b'{"device": "dev-1"}')
    assert caught.value.reason == reason
    assert server.url in caught.value.message
    assert caught.value.retry_after == 86400.0, "at most a day"
