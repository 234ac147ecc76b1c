"""Sources outside Git: what changes their digest, and what is read again."""

import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from edgewright.errors import SourceUnavailable, StepFailed
from edgewright.pipeline.dataset import source_index as sources
from edgewright.pipeline.dataset.locations import locate
from edgewright.pipeline.dataset.source_index import SourceIndex
from edgewright_schemas.dataset import Source
from harness.steps import run_dataset

SECOND = 10**9


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files whose bytes were read."""
    names: list[str] = []
    original = sources._sha256

    def noting(path: str) -> str:
        names.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(sources, "_sha256", noting)
    yield names


class World:
    """A folder of data, and an observer whose clock the test sets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 10_000 * SECOND
        self.data = root / "data"
        self.data.mkdir()

    def write(self, name: str, text: str, *, at: int = 1_000 * SECOND) -> None:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=(at, at))

    def digest(self, uri: str = "data") -> str | None:
        # A new index each time, as in a new process. The files' ctime is real, so the clock runs from it.
        index = SourceIndex(self.root, self.root / "cache", clock=lambda: self.now)
        return index.observe(Source(uri=uri, format="image-folder")).digest

    def later(self, seconds: float) -> None:
        newest = max((p.stat().st_ctime_ns for p in self.data.rglob("*")), default=0)
        self.now = newest + int(seconds * SECOND)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_unchanged_folder_is_not_read_again(world: World, read: list[str]) -> None:
    world.write("a/1", "one")
    world.write("b/2", "two")
    world.later(10)
    first = world.digest()
    assert sorted(read) == ["1", "2"]
    read.clear()
    assert world.digest() == first
    assert read == []


def test_only_what_changed_is_read_again(world: World, read: list[str]) -> None:
    world.write("a/1", "one")
    world.write("b/2", "two")
    world.later(10)
    first = world.digest()
    world.write("b/2", "TWO", at=2_000 * SECOND)
    world.later(10)
    read.clear()
    assert world.digest() != first
    assert read == ["2"]
    world.write("b/2", "two", at=3_000 * SECOND)
    world.later(10)
    assert world.digest() == first


def test_a_file_changed_just_before_it_was_looked_at_is_read_again(world: World, read: list[str]) -> None:
    world.write("old", "one")
    world.later(10)
    world.digest()
    world.write("new", "two")
    world.later(1)
    world.digest()
    read.clear()
    first = world.digest()
    assert read == ["new"]
    world.later(10)
    assert world.digest() == first
    read.clear()
    world.digest()
    assert read == []


def test_a_change_that_keeps_size_and_time_is_seen(world: World) -> None:
    world.write("1", "one")
    world.later(10)
    first = world.digest()
    world.write("1", "two")
    world.later(10)
    assert world.digest() != first


def test_names_are_part_of_a_folders_digest(world: World) -> None:
    world.write("1", "one")
    world.later(10)
    first = world.digest()
    (world.data / "1").rename(world.data / "2")
    assert world.digest() != first


def test_the_digest_of_a_file_is_its_sha256(world: World) -> None:
    world.write("table.csv", "x\n1\n")
    expected = "sha256:" + sha256(b"x\n1\n").hexdigest()
    assert world.digest("data/table.csv") == expected
    assert world.digest(f"file://{world.data}/table.csv") == expected


@pytest.mark.parametrize("damage", ["", "{", "[1]\n", '{"format": 99}'])
def test_a_damaged_index_is_as_good_as_none(world: World, damage: str) -> None:
    world.write("1", "one")
    world.later(10)
    first = world.digest()
    for file in (world.root / "cache").iterdir():
        file.write_text(damage)
    assert world.digest() == first


def test_a_cache_that_cannot_be_written_costs_no_plan(world: World) -> None:
    world.write("1", "one")
    (world.root / "cache").write_text("a file where the folder should be")
    assert world.digest() is not None


def test_a_link_to_a_folder_above_ends(world: World) -> None:
    world.write("a/1", "one")
    (world.data / "a" / "up").symlink_to(world.data)
    assert world.digest() is not None


def test_what_cannot_be_observed_says_why(world: World) -> None:
    index = SourceIndex(world.root, world.root / "cache")
    missing = index.observe(Source(uri="nothing.csv", format="csv"))
    assert missing.digest is None and "nothing.csv is not there" in missing.problem
    world.write("real", "x")
    (world.data / "dangling").symlink_to("nowhere")
    dangling = index.observe(Source(uri="data", format="image-folder"))
    assert dangling.digest is None and "dangling is not there" in dangling.problem
    unknown = index.observe(Source(uri="nosuch://bucket/x", format="csv"))
    assert unknown.digest is None and "nosuch" in unknown.problem


def test_a_remote_folder_changes_with_its_files(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    name = f"/sources-{tmp_path.name}"
    index = SourceIndex(tmp_path, tmp_path / "cache")
    source = Source(uri=f"memory:/{name}", format="image-folder")
    memory.pipe(f"{name}/1", b"one")
    first = index.observe(source)
    assert first.digest is not None
    assert index.observe(source) == first
    memory.pipe(f"{name}/1", b"one!")
    second = index.observe(source)
    assert second.digest not in (None, first.digest)


class Refusing(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A remote whose library raises an error of its own."""

    protocol = "refusing"

    def info(self, path: str, **kwargs: object) -> dict[str, object]:
        raise RuntimeError("403: no such token")


def test_a_remote_that_refuses_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    state = SourceIndex(tmp_path, tmp_path / "cache").observe(Source(uri="refusing://bucket/x", format="csv"))
    assert state.digest is None
    assert "refusing://bucket/x did not answer: RuntimeError: 403: no such token" in state.problem
    spec = {
        "source": {"uri": "refusing://bucket/x", "format": "csv"},
        "columns": {"x": {"type": "number"}, "label": {"type": "category"}},
    }
    with pytest.raises(SourceUnavailable, match="did not answer"):
        run_dataset(tmp_path, spec)


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it overrides
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of a web server of the test's folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietFiles, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_table_on_a_web_server(tmp_path: Path, served: str) -> None:
    (tmp_path / "x.csv").write_text("x,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(50)))
    (tmp_path / "checkout").mkdir()
    index = SourceIndex(tmp_path, tmp_path / "cache")
    first = index.observe(Source(uri=f"{served}/x.csv", format="csv"))
    assert first.digest is not None, first.problem
    spec = {
        "source": {"uri": f"{served}/x.csv", "format": "csv", "digest": first.digest},
        "columns": {"x": {"type": "number"}, "label": {"type": "category"}},
    }
    assert sum(run_dataset(tmp_path / "checkout", spec).facts.rows.values()) == 50
    (tmp_path / "x.csv").write_text("x,label\n1,a\n")
    assert index.observe(Source(uri=f"{served}/x.csv", format="csv")).digest != first.digest
    with pytest.raises(StepFailed, match="the spec pins"):
        run_dataset(tmp_path / "checkout", spec)
    gone = index.observe(Source(uri=f"{served}/gone.csv", format="csv"))
    assert "gone.csv is not there" in gone.problem


def test_a_web_server_that_is_down_may_come_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceUnavailable, match="did not answer: Client"):
        locate(f"http://127.0.0.1:{port}/x.csv")
