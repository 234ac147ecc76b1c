"""``FileBlobStore``: blobs in a folder. ``cli`` opens it; what builds and delivers uses it through ports.BlobStore.

::

    sha256/ab/<hex>    a blob
    incoming/          files on their way in; what a crash leaves here is removed later
    corrupt/<hex>      what did not match its digest, set aside for a person to look at
"""

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from edgewright import durable
from edgewright.core.artifact import FileRef
from edgewright.errors import BlobCorrupt, StateError
from edgewright.kept import size_of
from edgewright_wire.canonical import DIGEST_PREFIX, digest_bytes, hex_of

CHUNK = 1 << 20
LEFTOVER_SECONDS = 3600.0
"""A file on its way in that nobody has written to for so long belongs to a process that has ended."""
EMPTY = digest_bytes(b"")
_UNUSABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST})
Stamp = tuple[int, int, int]
"""Inode, size and time of change in nanoseconds: what a file has to keep to count as checked."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob as it lies in the store."""

    digest: str
    size: int
    modified: float
    """POSIX time of its last storing; storing the same bytes again renews it."""


class FileBlobStore:
    """Implements ports.BlobStore. Several processes may use one folder at once."""

    def __init__(self, root: Path) -> None:
        """Remember the folder; it is made by the first blob that is stored."""
        self._root = root
        self._checked: dict[str, Stamp] = {}
        self._swept = False
        self.looked_for: dict[str, int] | None = None
        """Sizes of the files that ``has`` looked for, by path, -1 where there was none; None: they are not noted."""

    def has(self, digest: str) -> bool:
        """Return whether a blob is stored. Contents are checked when read; a file a crash left empty does not count."""
        name = hex_of(digest)
        place = f"{self._root}/sha256/{name[:2]}/{name}"
        # Thousands are looked for in one plan, and a Path would take most of the time.
        size = size_of(place)
        if self.looked_for is not None:
            self.looked_for[place] = size
        return size > 0 or (size == 0 and digest == EMPTY)

    def intact(self, digest: str) -> bool:
        """Read a blob's bytes and compare them, also if this process has done so before.

        Raises:
            StorageFull: The disk failed.
            StateError: The blob cannot be read.
        """
        place = self._place(digest)
        try:
            with _reading(digest, place):
                whole = durable.digest_file(place) == digest
        except KeyError:
            return False
        if not whole:
            self._checked.pop(digest, None)  # so that whoever wants it next finds out
        return whole

    def path(self, digest: str) -> Path:
        """Return the path of a blob, checked once by this process for as long as the file stays the same.

        Raises:
            BlobCorrupt: They do not match; the blob has been set aside.
            KeyError: It is not there.
            StorageFull: The disk failed.
        """
        place = self._place(digest)
        with _reading(digest, place):
            stamp = _stamp(place.stat())
            if self._checked.get(digest) != stamp:
                if durable.digest_file(place) != digest:
                    self._set_aside(digest)
                    raise BlobCorrupt(digest)
                self._checked[digest] = stamp
        return place

    def read(self, digest: str) -> bytes:
        """Read a blob and check it.

        Raises:
            BlobCorrupt, KeyError, StorageFull: As in path.
        """
        place = self._place(digest)
        with _reading(digest, place):
            data = place.read_bytes()
        if digest_bytes(data) != digest:
            self._set_aside(digest)
            raise BlobCorrupt(digest)
        return data

    def put_file(self, path: Path) -> FileRef:
        """Store a copy of a file's bytes, as private as the file; never a link, because the original may change.

        Raises:
            StorageFull: No space.
            StateError: The folder cannot be written.
            FileNotFoundError: There is no such file.
        """
        with path.open("rb") as source:
            return self._put(source, os.fstat(source.fileno()).st_mode & 0o666)

    def put_bytes(self, data: bytes) -> FileRef:
        """Store bytes.

        Raises:
            StorageFull, StateError: As in put_file.
        """
        return self._put(BytesIO(data))

    def stored(self) -> Iterator[StoredBlob]:
        """List the blobs, in digest order."""
        for place in sorted((self._root / "sha256").glob("??/*")):
            if not place.name.startswith("."):
                try:
                    found = place.stat()
                except FileNotFoundError:
                    continue
                yield StoredBlob(DIGEST_PREFIX + place.name, found.st_size, found.st_mtime)

    def delete(self, digest: str) -> None:
        """Remove a blob; it may be gone already.

        Raises:
            StateError: The folder cannot be written.
        """
        place = self._place(digest)
        self._checked.pop(digest, None)
        with self._writing(place):
            durable.remove(place)

    def _put(self, source: IO[bytes], mode: int = 0o666) -> FileRef:
        incoming = durable.temporary_beside(self._root / "incoming" / "blob")
        with self._writing(incoming):
            durable.make_folder(incoming.parent)
            self._sweep(incoming.parent)
            try:
                digest, size = _copy(source, incoming, mode)
                place = self._place(digest)
                durable.make_folder(place.parent)
                # Also over a blob that is there: it mends a damaged one, and tells gc that it is wanted again.
                durable.rename(incoming, place)
                durable.sync_folder(place.parent)
            finally:
                incoming.unlink(missing_ok=True)
            self._checked[digest] = _stamp(place.stat())
        return FileRef(digest, size)

    def _place(self, digest: str) -> Path:
        name = hex_of(digest)
        return self._root / "sha256" / name[:2] / name

    def _set_aside(self, digest: str) -> None:
        """Move a blob that does not match out of the way; where that is not possible it stays, and is refused again."""
        self._checked.pop(digest, None)
        corrupt = self._root / "corrupt"
        place = self._place(digest)
        try:
            durable.make_folder(corrupt)
            durable.rename(place, corrupt / place.name)
            durable.sync_folder(corrupt)
            durable.sync_folder(place.parent)
        except OSError:
            return

    def _sweep(self, incoming: Path) -> None:
        """Once in a process, remove what crashed ones left on its way in."""
        if not self._swept:
            self._swept = True
            durable.remove_leftovers(incoming, before=time.time() - LEFTOVER_SECONDS)

    @contextmanager
    def _writing(self, place: Path) -> Iterator[None]:
        try:
            with durable.space_for(place):
                yield
        except OSError as error:
            if error.errno not in _UNUSABLE:
                raise
            raise StateError(
                f"blobs cannot be stored in {self._root}: {error.strerror}",
                hint="make the folder writable for this user, or name another place with --state",
            ) from error


def _copy(source: IO[bytes], target: Path, mode: int) -> tuple[str, int]:
    """Copy, sync and digest in one pass; nobody may read the copy who may not read the source."""
    digest = hashlib.sha256()
    size = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, mode | 0o600), "wb") as file:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return DIGEST_PREFIX + digest.hexdigest(), size


def _stamp(found: os.stat_result) -> Stamp:
    return (found.st_ino, found.st_size, found.st_mtime_ns)


@contextmanager
def _reading(digest: str, place: Path) -> Iterator[None]:
    try:
        with durable.space_for(place):
            yield
    except FileNotFoundError as error:
        raise KeyError(digest) from error
    except PermissionError as error:
        raise StateError(f"{place} cannot be read: {error.strerror}", hint="make it readable for this user") from error
