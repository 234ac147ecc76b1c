"""What every transport of the agent has to do, the real ones and the fakes alike."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from edgewright_agent.background import Background
from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotFound, SettingsError, TransportError
from edgewright_agent.http.client import HttpClient
from edgewright_agent.identity.enrollment_client import NoIdentities
from edgewright_agent.repository.http_transport import HttpReports, HttpRepository
from edgewright_agent.repository.transport import (
    DirectoryDrop,
    DirectoryRepository,
    ReportDrop,
    RepositoryReader,
    open_reports,
    open_repository,
)
from fakes.agent_ports import FlakyRepository, MemoryDrop, MemoryRepository
from servers.agent_api import plain_server, tls_server
from servers.static_servers import nginx, python_server

FILES = {"metadata/timestamp.json": b"{}", "blobs/sha256/ab": bytes(range(256)) * 5000, "targets/empty": b""}


def _directory(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_bytes(data)
    return tmp_path / "repo"


@contextmanager
def _behind_nginx(path: Path) -> Iterator[RepositoryReader]:
    with nginx(_directory(path), path / "nginx") as url:
        yield open_repository(url)


@contextmanager
def _behind_python(path: Path) -> Iterator[RepositoryReader]:
    """A server that knows neither ranges nor entity tags."""
    with python_server(_directory(path)) as url:
        yield open_repository(url)


@contextmanager
def _behind_edgewright(path: Path) -> Iterator[RepositoryReader]:
    """TLS by a private authority, and calls in the background, as the agent's own are."""
    with tls_server(_directory(path), path / "tls") as server:
        client = HttpClient("RepositoryUnreachable", 10.0, path / "tls" / "ca.crt", call=Background(lambda: False))
        yield HttpRepository(f"{server.url}/repository", client)


READERS: dict[str, Callable[[Path], AbstractContextManager[RepositoryReader]]] = {
    "directory": lambda path: nullcontext(DirectoryRepository(_directory(path))),
    "file url": lambda path: nullcontext(open_repository(_directory(path).as_uri())),
    "memory": lambda _: nullcontext(MemoryRepository(dict(FILES))),
    "flaky, behaving": lambda _: nullcontext(FlakyRepository(MemoryRepository(dict(FILES)))),
    "http, nginx": _behind_nginx,
    "http, no ranges": _behind_python,
    "https, edgewright": _behind_edgewright,
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RepositoryReader]:
    with READERS[request.param](tmp_path) as reader:
        yield reader


@pytest.mark.parametrize("path", FILES)
def test_reads_whole_files(reader: RepositoryReader, path: str) -> None:
    assert b"".join(reader.read(path)) == FILES[path]


@pytest.mark.parametrize("offset", [0, 1, 255, 256 * 5000 - 1, 256 * 5000, 256 * 5000 + 9])
def test_reads_from_an_offset(reader: RepositoryReader, offset: int) -> None:
    assert b"".join(reader.read("blobs/sha256/ab", offset)) == FILES["blobs/sha256/ab"][offset:]


def test_a_file_that_is_not_there_is_not_found(reader: RepositoryReader) -> None:
    with pytest.raises(NotFound, match="nothing"):
        b"".join(reader.read("metadata/nothing.json"))


@pytest.mark.parametrize("path", ["../secret", "metadata/../../secret", "/etc/hostname"])
def test_nothing_outside_the_repository_can_be_read(reader: RepositoryReader, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(NotFound):
        b"".join(reader.read(path))


def test_a_repository_that_is_away_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="mounted") as caught:
        b"".join(DirectoryRepository(tmp_path / "gone").read("metadata/timestamp.json"))
    assert not isinstance(caught.value, NotFound)


Dropped = tuple[ReportDrop, Callable[[], dict[str, bytes]]]


@contextmanager
def _over_http(path: Path) -> Iterator[Dropped]:
    with plain_server(path) as server:
        client = HttpClient("ReportsUnreachable", 10.0)
        yield HttpReports(f"{server.url}/reports", NoIdentities(), lambda _: client), lambda: server.reports


DROPS: dict[str, Callable[[Path], AbstractContextManager[Dropped]]] = {
    "directory": lambda path: nullcontext((DirectoryDrop(path / "drop", Disk()), lambda: _files(path / "drop"))),
    "file url": lambda path: nullcontext(
        (open_reports((path / "drop").as_uri(), Disk()), lambda: _files(path / "drop"))
    ),
    "memory": lambda _: nullcontext((drop := MemoryDrop(), lambda: drop.files)),
    "http": _over_http,
}


def _files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def _report(device: str, sequence: int) -> bytes:
    """Long enough to be worth compressing."""
    return json.dumps({"device": device, "sequence": sequence, "message": "m" * 700}).encode()


@pytest.mark.parametrize("kind", DROPS)
def test_the_newest_report_replaces_the_one_before(tmp_path: Path, kind: str) -> None:
    with DROPS[kind](tmp_path) as (drop, files):
        drop.send("dev-1", _report("dev-1", 1))
        drop.send("dev-2", _report("dev-2", 1))
        drop.send("dev-1", _report("dev-1", 2))
        assert files() == {"dev-1.json": _report("dev-1", 2), "dev-2.json": _report("dev-2", 1)}


def test_a_drop_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TransportError, match="file"):
        DirectoryDrop(tmp_path / "file" / "drop", Disk()).send("dev-1", b"one")


@pytest.mark.parametrize("url", ["ftp://example.org/repo", "file://host/share", "file:relative"])
def test_a_scheme_that_is_not_known_is_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match="file:///"):
        open_repository(url)
    with pytest.raises(SettingsError, match="reports"):
        open_reports(url, Disk())
