"""What every blob store must do; run against the real one and the fake."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.blobs.file_store import FileBlobStore
from edgewright.errors import BlobCorrupt
from edgewright.ports import BlobStore
from edgewright_wire.canonical import digest_bytes
from fakes.blobs import InMemoryBlobs


@dataclass
class Subject:
    """A store, and a way to damage what it holds."""

    blobs: BlobStore
    overwrite: Callable[[str, bytes], None]


def real(tmp_path: Path) -> Subject:
    root = tmp_path / "blobs"

    def overwrite(digest: str, data: bytes) -> None:
        name = digest.removeprefix("sha256:")
        (root / "sha256" / name[:2] / name).write_bytes(data)

    return Subject(FileBlobStore(root), overwrite)


def fake(tmp_path: Path) -> Subject:
    blobs = InMemoryBlobs(tmp_path / "blobs")
    return Subject(blobs, blobs.contents.__setitem__)


@pytest.fixture(params=[real, fake])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    made: Subject = request.param(tmp_path)
    return made


def test_what_was_put_is_there_under_its_sha256(subject: Subject) -> None:
    stored = subject.blobs.put_bytes(b"weights")
    assert (stored.digest, stored.size) == (digest_bytes(b"weights"), 7)
    assert subject.blobs.has(stored.digest)
    assert subject.blobs.read(stored.digest) == b"weights"
    assert subject.blobs.path(stored.digest).read_bytes() == b"weights"


def test_a_file_and_its_bytes_are_the_same_blob(subject: Subject, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"graph" * 700_000)
    assert subject.blobs.put_file(file) == subject.blobs.put_bytes(file.read_bytes())


def test_changing_the_original_does_not_change_the_blob(subject: Subject, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"before")
    stored = subject.blobs.put_file(file)
    file.write_bytes(b"after!")
    assert subject.blobs.read(stored.digest) == b"before"


def test_the_empty_blob_can_be_stored(subject: Subject) -> None:
    digest = digest_bytes(b"")
    assert not subject.blobs.has(digest)
    assert subject.blobs.put_bytes(b"").digest == digest
    assert subject.blobs.has(digest)
    assert subject.blobs.read(digest) == b""


def test_a_blob_that_is_not_there(subject: Subject) -> None:
    digest = digest_bytes(b"never stored")
    assert not subject.blobs.has(digest)
    with pytest.raises(KeyError):
        subject.blobs.read(digest)
    with pytest.raises(KeyError):
        subject.blobs.path(digest)


@pytest.mark.parametrize("damage", [b"weightz", b"weig"])
@pytest.mark.parametrize("look", ["read", "path"])
def test_a_damaged_blob_is_found_set_aside_and_can_be_stored_again(subject: Subject, look: str, damage: bytes) -> None:
    digest = subject.blobs.put_bytes(b"weights").digest
    subject.overwrite(digest, damage)
    with pytest.raises(BlobCorrupt) as caught:
        subject.blobs.read(digest) if look == "read" else subject.blobs.path(digest)
    assert digest in str(caught.value)
    assert not subject.blobs.has(digest)
    subject.blobs.put_bytes(b"weights")
    assert subject.blobs.read(digest) == b"weights"
    assert subject.blobs.path(digest).read_bytes() == b"weights"


def test_a_blob_emptied_by_a_crash_does_not_count(subject: Subject) -> None:
    digest = subject.blobs.put_bytes(b"weights").digest
    subject.overwrite(digest, b"")
    assert not subject.blobs.has(digest)


@pytest.mark.parametrize("name", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 32])
def test_what_is_no_digest_is_refused(subject: Subject, name: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest"):
        subject.blobs.has(name)


def test_a_look_at_the_bytes_sees_damage_and_leaves_it_where_it_is(subject: Subject) -> None:
    digest = subject.blobs.put_bytes(b"weights").digest
    assert subject.blobs.intact(digest)
    subject.overwrite(digest, b"weighty")
    assert not subject.blobs.intact(digest)
    assert subject.blobs.has(digest), "only whoever wants the bytes sets them aside"
    with pytest.raises(BlobCorrupt):
        subject.blobs.path(digest)
    assert not subject.blobs.intact(digest)
    subject.blobs.put_bytes(b"weights")
    assert subject.blobs.intact(digest)
