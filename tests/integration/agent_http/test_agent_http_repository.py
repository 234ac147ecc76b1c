"""A published repository over HTTP: ranges, conditions, caching, polls that are held; and the same through nginx."""

import hashlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from edgewright.server import protocol
from edgewright.server.devices.repository_files import Piece, piece_of
from edgewright_wire.messages import Assignment
from rigs.base import content_of
from samples.agent_packages import a_package
from servers.agent_server import PATIENCE, AgentSite, base
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


def test_every_published_file_is_served_with_its_bytes_and_a_strong_tag(place: Place) -> None:
    files = place.files()
    assert {file.split("/")[0] for file in files} == {"metadata", "targets", "blobs"}
    for file in files:
        content = (place.site.published / file).read_bytes()
        answer, head = place.get(file), place.get(file, "HEAD")
        assert (answer.status_code, answer.content) == (200, content)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(content))
        assert answer.headers["etag"] == head.headers["etag"]
        assert answer.headers["etag"].startswith('"')
        assert answer.headers["last-modified"].endswith("GMT")
        assert place.get(file, If_None_Match=answer.headers["etag"]).status_code == 304
        assert place.get(file, If_None_Match=f'"other", W/{answer.headers["etag"]}').status_code == 304
        assert place.get(file, If_None_Match='"other"').status_code == 200
        since = place.get(file, If_Modified_Since=answer.headers["last-modified"])
        assert since.status_code == (200 if file == TIMESTAMP else 304), "it may change twice in a second"


def test_what_never_changes_may_be_kept_and_the_timestamp_must_be_asked_for(place: Place) -> None:
    for file in place.files():
        kept = place.get(file).headers["cache-control"]
        changes = file in {TIMESTAMP, "metadata/root.json"}
        assert kept == ("no-cache" if changes else "public, max-age=31536000, immutable"), file
    missing = place.get("metadata/99.root.json")
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


def test_parts_of_files_can_be_fetched_and_resumed(place: Place) -> None:
    file = next(file for file in place.files() if file.startswith("blobs/"))
    content = (place.site.published / file).read_bytes()
    size, tag = len(content), place.get(file).headers["etag"]
    for text, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=3-", 3, size - 1),
        ("bytes=-5", size - 5, size - 1),
        (f"bytes=2-{size + 100}", 2, size - 1),
        (f"bytes=-{size + 9}", 0, size - 1),
    ):
        answer = place.get(file, Range=text, If_Range=tag)
        assert answer.status_code == 206, text
        assert answer.content == content[first : last + 1]
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
    for text in (f"bytes={size}-", "bytes=-0"):
        answer = place.get(file, Range=text)
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    for text in ("bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=-"):
        assert place.get(file, Range=text).content == content, f"{text} cannot be followed, so all is sent"
    assert place.get(file, Range="bytes=3-", If_Range='"other"').content == content
    part = place.get(file, "HEAD", Range="bytes=3-4")
    assert (part.status_code, part.headers["content-length"], part.content) == (206, "2", b"")


def test_conditions_come_before_ranges() -> None:
    since = b"Sun, 01 Mar 2026 12:00:00 GMT"
    modified = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() + 0.9
    assert piece_of(10, '"a"', modified, {b"if-none-match": b'"a"', b"range": b"bytes=0-1"}) == Piece(304)
    assert piece_of(10, '"a"', modified, {b"if-modified-since": since}) == Piece(304)
    assert piece_of(10, '"a"', modified + 1, {b"if-modified-since": since}) == Piece(200, 0, 10)
    assert piece_of(10, '"a"', modified, {b"if-none-match": b'"b"', b"if-modified-since": since}) == Piece(200, 0, 10)
    assert piece_of(10, '"a"', modified, {b"if-range": since, b"range": b"bytes=4-"}) == Piece(206, 4, 6)
    assert piece_of(0, '"a"', modified, {b"range": b"bytes=0-"}) == Piece(416)
    assert piece_of(10, '"a"', modified, {b"if-modified-since": b"yesterday"}) == Piece(200, 0, 10)


@pytest.mark.parametrize(
    "path",
    [
        "../keys/online.pem",
        "%2e%2e/keys/online.pem",
        "metadata/%2e%2e/%2e%2e/keys/online.pem",
        "metadata/..%2f..%2fkeys/online.pem",
        "targets/../../keys/root.pem",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "metadata/",
        "metadata",
        "",
        "metadata/.timestamp.json.1-0.tmp",
        ".lock",
        "metadata/timestamp.json%00.json",
        "blobs/sha256/" + "0" * 64,
        "blobs/sha256/link",
        "targets/assignments/" + "a" * 64 + ".link.json",
        "metadata/pipe.json",
    ],
)
def test_nothing_but_published_files_is_served(place: Place, path: str) -> None:
    (place.site.published / "metadata/.timestamp.json.1-0.tmp").write_text("half")
    (place.site.published / "blobs/sha256/link").symlink_to(place.site.keys / "root.pem")
    (place.site.published / f"targets/assignments/{'a' * 64}.link.json").symlink_to(place.site.keys / "root.pem")
    os.mkfifo(place.site.published / "metadata/pipe.json")
    where = urlsplit(place.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
    connection.putrequest("GET", f"{where.path}/{path}", skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"PRIVATE" not in answer.read()
    connection.close()


def test_only_reading_is_allowed(place: Place) -> None:
    for method in ("PUT", "DELETE", "POST"):
        answer = place.get(TIMESTAMP, method)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert httpx.get(place.url.replace("default", "nowhere") + f"/{TIMESTAMP}", trust_env=False).status_code == 404


def test_a_large_file_is_streamed_and_many_slow_readers_hold_nobody_up(place: Place) -> None:
    content = hashlib.sha256(b"x").digest() * (1 << 19)  # 16 MiB
    name = hashlib.sha256(content).hexdigest()
    (place.site.published / "blobs/sha256" / name).write_bytes(content)
    where = urlsplit(place.url)
    stuck = []
    for _ in range(12):
        connection = socket.create_connection((where.hostname, where.port), PATIENCE)
        connection.sendall(f"GET {where.path}/blobs/sha256/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(10).startswith(b"HTTP/1.1")
        stuck.append(connection)

    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: place.get(f"blobs/sha256/{name}"), range(4)):
            assert hashlib.sha256(answer.content).hexdigest() == name
    assert place.get(TIMESTAMP).status_code == 200
    for connection in stuck:
        connection.close()
    assert place.get(f"blobs/sha256/{name}", Range="bytes=16777000-").content == content[16777000:]


def test_who_takes_in_nothing_of_an_answer_is_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALLED_SECONDS", 0.2)
    blob = place.site.published / "blobs/sha256" / ("1" * 64)
    blob.write_bytes(b"x" * (64 << 20))  # more than two sockets hold
    where = urlsplit(place.url)
    with socket.create_connection((where.hostname, where.port), PATIENCE) as connection:
        connection.sendall(f"GET {where.path}/blobs/sha256/{blob.name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(10).startswith(b"HTTP/1.1")
        until = time.monotonic() + PATIENCE
        while _is_open(blob):
            assert time.monotonic() < until
            threading.Event().wait(0.02)
        assert sum(map(len, iter(lambda: connection.recv(1 << 20), b""))) < 64 << 20


def _is_open(file: Path) -> bool:
    """Whether this process, the server's, has a file open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(entry.readlink())
    return file in found
