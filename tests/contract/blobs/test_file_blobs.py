"""What only a store in a folder can do: its layout, its crashes, its disk. Limits here are the kernel's own."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgewright import durable
from edgewright.blobs.file_store import FileBlobStore
from edgewright.blobs.gc import sweep
from edgewright.errors import BlobCorrupt, StateError
from edgewright_wire.canonical import digest_bytes
from harness.children import child, heard
from harness.ordinary_user import as_ordinary_user


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def place(root: Path, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return root / "sha256" / name[:2] / name


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_identical_content_is_stored_once_at_its_place(root: Path, tmp_path: Path) -> None:
    store = FileBlobStore(root)
    original = tmp_path / "original"
    original.write_bytes(b"weights")
    first, second = store.put_file(original), store.put_bytes(b"weights")
    assert first == second
    assert files(root) == [place(root, first.digest)]
    assert place(root, first.digest).stat().st_ino != original.stat().st_ino, "a copy, not a link"


def test_looking_makes_no_folder(root: Path) -> None:
    assert not FileBlobStore(root).has(digest_bytes(b"x"))
    assert list(FileBlobStore(root).stored()) == []
    assert not root.exists()


def test_a_damaged_blob_is_kept_aside_for_a_person(root: Path) -> None:
    digest = FileBlobStore(root).put_bytes(b"weights").digest
    place(root, digest).write_bytes(b"weightz")
    with pytest.raises(BlobCorrupt):
        FileBlobStore(root).path(digest)
    assert (root / "corrupt" / place(root, digest).name).read_bytes() == b"weightz"


def test_contents_are_checked_once_until_the_file_changes(root: Path) -> None:
    store = FileBlobStore(root)
    digest = store.put_bytes(b"weights").digest
    fresh = FileBlobStore(root)
    fresh.path(digest)
    known = place(root, digest).stat()
    place(root, digest).write_bytes(b"weightz")
    os.utime(place(root, digest), ns=(known.st_atime_ns, known.st_mtime_ns))
    fresh.path(digest)  # same inode, size and time: not read again
    os.utime(place(root, digest), ns=(known.st_atime_ns, known.st_mtime_ns + 1))
    with pytest.raises(BlobCorrupt):
        fresh.path(digest)


def test_a_damaged_blob_below_a_read_only_folder_is_refused_every_time(root: Path) -> None:
    digest = FileBlobStore(root).put_bytes(b"weights").digest
    blob = place(root, digest)
    blob.write_bytes(b"weightz")
    for folder in (blob.parent, root):
        folder.chmod(0o555)
    for _ in range(2):
        with pytest.raises(BlobCorrupt):
            as_ordinary_user(lambda: FileBlobStore(root).read(digest))
    root.chmod(0o755)
    blob.parent.chmod(0o755)


def test_a_read_only_store_says_what_to_do(root: Path) -> None:
    digest = FileBlobStore(root).put_bytes(b"weights").digest
    for folder in (root / "incoming", root):
        folder.chmod(0o555)
    assert as_ordinary_user(lambda: FileBlobStore(root).read(digest)) == b"weights"
    with pytest.raises(StateError, match="writable"):
        as_ordinary_user(lambda: FileBlobStore(root).put_bytes(b"more"))
    root.chmod(0o755)
    (root / "incoming").chmod(0o755)


def test_a_store_below_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"Not a directory|File exists"):
        FileBlobStore(tmp_path / "file" / "blobs").put_bytes(b"x")


FULL = """
import resource, sys
from pathlib import Path
from edgewright.blobs.file_store import FileBlobStore
from edgewright.errors import StorageFull
store = FileBlobStore(Path(sys.argv[1]))
original = Path(sys.argv[2])
original.write_bytes(b"x" * 3_000_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
for put in (lambda: store.put_file(original), lambda: store.put_bytes(original.read_bytes())):
    try:
        put()
    except StorageFull as error:
        print("full:", error.message)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.put_file(original).size)
"""


def test_a_full_disk_is_told_and_leaves_nothing_half(root: Path, tmp_path: Path) -> None:
    with child(FULL, root, tmp_path / "original") as process:
        assert heard(process).startswith(f"full: cannot write {root}")
        assert heard(process).startswith(f"full: cannot write {root}")
        assert heard(process) == "3000000"
    assert len(files(root)) == 1


KILLED = """
import sys
from pathlib import Path
from edgewright import durable
from edgewright.blobs.file_store import FileBlobStore
def stop(operation, path):
    if operation == "rename":
        print("about to rename", flush=True)
        sys.stdin.readline()
with durable.watched(stop):
    FileBlobStore(Path(sys.argv[1])).put_bytes(b"weights")
"""


def test_what_a_killed_process_left_on_its_way_in_is_removed_later(root: Path) -> None:
    with child(KILLED, root) as process:
        assert heard(process) == "about to rename"
        process.kill()
        process.wait()
    (leftover,) = files(root)
    assert leftover.parent == root / "incoming"
    assert not FileBlobStore(root).has(digest_bytes(b"weights"))
    FileBlobStore(root).put_bytes(b"young ones may still be written")
    assert leftover.exists()
    long_ago = time.time() - 7200
    os.utime(leftover, (long_ago, long_ago))
    FileBlobStore(root).put_bytes(b"weights")
    assert not leftover.exists()
    assert FileBlobStore(root).read(digest_bytes(b"weights")) == b"weights"


def test_a_blob_is_synced_before_and_after_it_gets_its_name(root: Path) -> None:
    seen: list[tuple[str, Path]] = []
    FileBlobStore(root).put_bytes(b"the folders are there now")
    with durable.watched(lambda operation, path: seen.append((operation, path))):
        digest = FileBlobStore(root).put_bytes(b"the folders are there now").digest
    blob = place(root, digest)
    assert seen[-2:] == [("rename", blob), ("sync-dir", blob.parent)]


def test_sweeping_a_folder_removes_the_old_ones_nothing_refers_to(root: Path) -> None:
    store = FileBlobStore(root)
    kept, old, young = (store.put_bytes(name.encode()).digest for name in ("kept", "old!", "young"))
    yesterday = time.time() - 86_400
    for digest in (kept, old):
        os.utime(place(root, digest), (yesterday, yesterday))
    now = datetime.now(UTC)
    shown = sweep(store, {kept}, now, dry_run=True)
    assert ([blob.digest for blob in shown.blobs], shown.bytes, shown.kept, shown.young) == ([old], 4, 2, 1)
    assert store.has(old)
    assert sweep(store, {kept}, now) == shown
    assert [store.has(digest) for digest in (kept, old, young)] == [True, False, True]
    assert [b.digest for b in sweep(store, {kept}, now + timedelta(hours=2)).blobs] == [young]
    assert sweep(store, {kept}, now + timedelta(hours=2)).blobs == ()


def test_a_blob_stored_again_is_young_again(root: Path) -> None:
    store = FileBlobStore(root)
    digest = store.put_bytes(b"weights").digest
    yesterday = time.time() - 86_400
    os.utime(place(root, digest), (yesterday, yesterday))
    store.put_bytes(b"weights")
    assert sweep(store, frozenset(), datetime.now(UTC)).blobs == ()
    assert store.has(digest)
