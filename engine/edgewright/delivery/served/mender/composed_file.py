"""A file composed of bytes and other files while it is read: nothing is written, nothing is cached.

Artifacts are composed, because their large parts lie in the published repository already. Called by ``artifacts``.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tarfile import GNU_FORMAT, SYMTYPE, TarInfo

from edgewright.delivery.repository.depot import PayloadFile
from edgewright.errors import DeliveryUnavailable

CHUNK = 256 * 1024
"""Bytes."""
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of it: ``data``, or the file at ``path``."""

    size: int
    data: bytes = b""
    path: Path | None = None


class ComposedFile:
    """A file of known size, made of parts."""

    def __init__(self, parts: Iterable[FilePart]) -> None:
        self._parts = tuple(part for part in parts if part.size)
        self.size = sum(part.size for part in self._parts)

    @classmethod
    def of_bytes(cls, data: bytes) -> "ComposedFile":
        """Build it from bytes alone."""
        return cls([FilePart(len(data), data)])

    @classmethod
    def of_file(cls, file: PayloadFile) -> "ComposedFile":
        """Build it from a payload's file."""
        return cls([FilePart(file.size, file.data, file.path)])

    def __iter__(self) -> Iterator[FilePart]:
        """Yield the parts."""
        return iter(self._parts)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Read from one offset to another, in chunks of about the same size.

        Raises:
            DeliveryUnavailable: A file is gone, cannot be read, or has become shorter.
        """
        gathered = bytearray()
        for chunk in self._read_parts(start, self.size if end is None else min(end, self.size)):
            gathered += chunk
            if len(gathered) >= CHUNK:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    def _read_parts(self, start: int, end: int) -> Iterator[bytes]:
        at = 0
        for part in self._parts:
            first, last = max(start - at, 0), min(end - at, part.size)
            at += part.size
            if first < last:
                yield from _read(part, first, last)

    def check(self) -> None:
        """Check that its files are there with their sizes, before a response promises them.

        Raises:
            DeliveryUnavailable: One is not.
        """
        for part in self._parts:
            if part.path is None:
                continue
            try:
                size = part.path.stat().st_size
            except OSError as error:
                raise _damaged(part.path, error.strerror or str(error)) from error
            if size != part.size:
                raise _damaged(part.path, f"it has {size} bytes, not {part.size}")

    def tag(self) -> str:
        """Return an entity tag without reading the file: published files have their digests as names."""
        found = hashlib.sha256()
        for part in self._parts:
            found.update(f"{part.size} {part.path or ''}\n".encode() + part.data)
        return found.hexdigest()[:32]

    def digest(self) -> str:
        """Return the sha256 of the whole file, in hex.

        Raises:
            DeliveryUnavailable: As in read.
        """
        found = hashlib.sha256()
        for chunk in self.read():
            found.update(chunk)
        return found.hexdigest()


def tar(files: Iterable[tuple[str, ComposedFile]], links: Iterable[tuple[str, str]] = ()) -> ComposedFile:
    """Pack files into a tar archive, and after them symbolic links; the same input gives the same bytes.

    Args:
        files: Their names and contents.
        links: Their names and targets.
    """
    parts: list[FilePart] = []
    for name, content in files:
        parts.append(_header(name, size=content.size))
        parts.extend(content)
        parts.append(_zeros(-content.size % _BLOCK))
    parts.extend(_header(name, target=target) for name, target in links)
    return ComposedFile([*parts, _zeros(2 * _BLOCK)])


def _header(name: str, *, size: int = 0, target: str = "") -> FilePart:
    info = TarInfo(name)
    info.size, info.mode = size, 0o644
    if target:
        info.type, info.linkname, info.mode = SYMTYPE, target, 0o777
    data = info.tobuf(GNU_FORMAT, "utf-8")
    return FilePart(len(data), data)


def _zeros(count: int) -> FilePart:
    return FilePart(count, bytes(count))


def _read(part: FilePart, first: int, last: int) -> Iterator[bytes]:
    if part.path is None:
        yield part.data[first:last]
        return
    try:
        with part.path.open("rb") as file:
            file.seek(first)
            left = last - first
            while left:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise _damaged(part.path, "it is shorter than its name says")
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise _damaged(part.path, error.strerror or str(error)) from error


def _damaged(path: Path, problem: str) -> DeliveryUnavailable:
    return DeliveryUnavailable(f"cannot read {path}: {problem}", hint="apply again, which mends what is published")
