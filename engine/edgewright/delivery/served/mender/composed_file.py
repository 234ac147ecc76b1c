"""A file that is put together while it is read, from bytes and other files: nothing is written, nothing is cached.

Artifacts are made so: what is large in them lies in the published repository already. Called by ``artifacts``.
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
    """A file of known size, made of pieces."""

    def __init__(self, pieces: Iterable[FilePart]) -> None:
        self._pieces = tuple(piece for piece in pieces if piece.size)
        self.size = sum(piece.size for piece in self._pieces)

    @classmethod
    def of_bytes(cls, data: bytes) -> "ComposedFile":
        """Make it of bytes alone."""
        return cls([FilePart(len(data), data)])

    @classmethod
    def of_file(cls, file: PayloadFile) -> "ComposedFile":
        """Make it of a payload's file."""
        return cls([FilePart(file.size, file.data, file.path)])

    def __iter__(self) -> Iterator[FilePart]:
        """The pieces."""
        return iter(self._pieces)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Read from one offset to another, in chunks of about the same size.

        Raises:
            DeliveryUnavailable: A file is gone, cannot be read, or has become shorter.
        """
        gathered = bytearray()
        for part in self._parts(start, self.size if end is None else min(end, self.size)):
            gathered += part
            if len(gathered) >= CHUNK:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    def _parts(self, start: int, end: int) -> Iterator[bytes]:
        at = 0
        for piece in self._pieces:
            first, last = max(start - at, 0), min(end - at, piece.size)
            at += piece.size
            if first < last:
                yield from _read(piece, first, last)

    def check(self) -> None:
        """See that its files are there and as long as they should be, before anything of it is promised.

        Raises:
            DeliveryUnavailable: One is not.
        """
        for piece in self._pieces:
            if piece.path is None:
                continue
            try:
                size = piece.path.stat().st_size
            except OSError as error:
                raise _damaged(piece.path, error.strerror or str(error)) from error
            if size != piece.size:
                raise _damaged(piece.path, f"it has {size} bytes, not {piece.size}")

    def tag(self) -> str:
        """Tell it from files with other bytes, without reading it: published files have their digests as names."""
        found = hashlib.sha256()
        for piece in self._pieces:
            found.update(f"{piece.size} {piece.path or ''}\n".encode() + piece.data)
        return found.hexdigest()[:32]

    def digest(self) -> str:
        """The sha256 of all of it, in hex.

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
        links: Their names, and where they lead.
    """
    pieces: list[FilePart] = []
    for name, content in files:
        pieces.append(_header(name, size=content.size))
        pieces.extend(content)
        pieces.append(_zeros(-content.size % _BLOCK))
    pieces.extend(_header(name, target=target) for name, target in links)
    return ComposedFile([*pieces, _zeros(2 * _BLOCK)])


def _header(name: str, *, size: int = 0, target: str = "") -> FilePart:
    info = TarInfo(name)
    info.size, info.mode = size, 0o644
    if target:
        info.type, info.linkname, info.mode = SYMTYPE, target, 0o777
    data = info.tobuf(GNU_FORMAT, "utf-8")
    return FilePart(len(data), data)


def _zeros(count: int) -> FilePart:
    return FilePart(count, bytes(count))


def _read(piece: FilePart, first: int, last: int) -> Iterator[bytes]:
    if piece.path is None:
        yield piece.data[first:last]
        return
    try:
        with piece.path.open("rb") as file:
            file.seek(first)
            left = last - first
            while left:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise _damaged(piece.path, "it is shorter than its name says")
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise _damaged(piece.path, error.strerror or str(error)) from error


def _damaged(path: Path, problem: str) -> DeliveryUnavailable:
    return DeliveryUnavailable(f"cannot read {path}: {problem}", hint="apply again, which mends what is published")
