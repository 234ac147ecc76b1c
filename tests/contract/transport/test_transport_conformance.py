"""What every transport of the agent has to do, the real ones and the fakes alike."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotFound, SettingsError, TransportError
from edgewright_agent.transport import (
    DirectoryDrop,
    DirectoryRepository,
    ReportDrop,
    RepositoryReader,
    open_reports,
    open_repository,
)
from fakes.agent_ports import FlakyRepository, MemoryDrop, MemoryRepository

FILES = {"metadata/timestamp.json": b"{}", "blobs/sha256/ab": bytes(range(256)) * 5000, "targets/empty": b""}


def _directory(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_bytes(data)
    return tmp_path / "repo"


READERS: dict[str, Callable[[Path], RepositoryReader]] = {
    "directory": lambda path: DirectoryRepository(_directory(path)),
    "file url": lambda path: open_repository(_directory(path).as_uri()),
    "memory": lambda _: MemoryRepository(dict(FILES)),
    "flaky, behaving": lambda _: FlakyRepository(MemoryRepository(dict(FILES))),
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> RepositoryReader:
    return READERS[request.param](tmp_path)


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


DROPS: dict[str, Callable[[Path], tuple[ReportDrop, Callable[[], dict[str, bytes]]]]] = {
    "directory": lambda path: (DirectoryDrop(path / "drop", Disk()), lambda: _files(path / "drop")),
    "file url": lambda path: (open_reports((path / "drop").as_uri(), Disk()), lambda: _files(path / "drop")),
    "memory": lambda _: (drop := MemoryDrop(), lambda: drop.files),
}


def _files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("kind", DROPS)
def test_the_newest_report_replaces_the_one_before(tmp_path: Path, kind: str) -> None:
    drop, files = DROPS[kind](tmp_path)
    drop.send("dev-1", b"one")
    drop.send("dev-2", b"other")
    drop.send("dev-1", b"two")
    assert files() == {"dev-1.json": b"two", "dev-2.json": b"other"}


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
