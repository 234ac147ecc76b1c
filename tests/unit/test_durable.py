"""Durable writes."""

import errno
import os
from pathlib import Path

import pytest

from edgewright import durable
from edgewright.errors import BlobCorrupt, StorageFull
from edgewright_wire.canonical import digest_bytes


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    durable.write_atomic(tmp_path / "a", b"one")
    durable.write_atomic(tmp_path / "a", b"two", mode=0o600)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_every_file_is_synced_before_its_rename_and_each_folder_once_at_the_end(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    with durable.watched(lambda operation, path: seen.append((operation, path.name))):
        durable.write_all_atomic({tmp_path / "x/a": b"1", tmp_path / "x/b": b"2", tmp_path / "y/c": b"3"})

    assert [operation for operation, _ in seen] == ["create", "write", "sync", "rename"] * 3 + ["sync-dir"] * 2
    assert [name for operation, name in seen if operation in {"rename", "sync-dir"}] == ["a", "b", "c", "x", "y"]


def test_many_files_at_once(tmp_path: Path) -> None:
    files = {tmp_path / f"{n}": str(n).encode() for n in range(100)}
    durable.write_all_atomic(files)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("operation", ["write", "sync", "rename"])
def test_a_full_disk_is_named_and_leaves_what_was(tmp_path: Path, operation: str) -> None:
    durable.write_atomic(tmp_path / "a", b"one")

    def full(at: str, path: Path) -> None:
        if at == operation:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with durable.watched(full), pytest.raises(StorageFull, match=str(tmp_path / "a")):
        durable.write_atomic(tmp_path / "a", b"two")

    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_copy_is_checked(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"bytes")
    with pytest.raises(BlobCorrupt):
        durable.copy_atomic(tmp_path / "source", tmp_path / "copy", digest_bytes(b"other"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]

    for link in (True, False):
        durable.copy_atomic(tmp_path / "source", tmp_path / "copy", digest_bytes(b"bytes"), link=link)
        assert (tmp_path / "copy").read_bytes() == b"bytes"
        assert (tmp_path / "copy").samefile(tmp_path / "source") is link
    assert {path.name for path in tmp_path.iterdir()} == {"source", "copy"}


def test_a_link_or_private_file_is_copied_and_not_linked(tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(b"bytes")
    (tmp_path / "private").chmod(0o600)
    (tmp_path / "link").symlink_to("private")
    for source in ("private", "link"):
        durable.copy_atomic(tmp_path / source, tmp_path / "copy", digest_bytes(b"bytes"))
        assert not (tmp_path / "copy").is_symlink()
        assert not (tmp_path / "copy").samefile(tmp_path / "private")


def test_leftovers_are_removed_when_old(tmp_path: Path) -> None:
    for name in (".a.1-1.tmp", ".b.1-2.tmp", "c.tmp", ".d"):
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / ".a.1-1.tmp", (1000, 1000))
    durable.remove_leftovers(tmp_path, before=2000)
    assert {path.name for path in tmp_path.iterdir()} == {".b.1-2.tmp", "c.tmp", ".d"}


def test_long_names_are_written(tmp_path: Path) -> None:
    durable.write_atomic(tmp_path / ("n" * 250), b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["n" * 250]
