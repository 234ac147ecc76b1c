"""What of a payload a device lacks, and where each file goes on. Pure; called by ``bringing``.

A file is brought as ``incoming/<hex>``; what was cut is continued as ``incoming/<hex>.<offset>``, because the stream
that carries the files can only make new ones. ``scripts.check`` puts the pieces together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgewright.delivery.repository.depot import PayloadFile
from edgewright_wire.canonical import hex_of

MOST_PIECES = 50
"""A file that was cut so often is begun anew."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file from an offset to its end."""

    file: PayloadFile
    offset: int

    @property
    def name(self) -> str:
        """What it is called while it is brought."""
        return piece_name(hex_of(self.file.digest), self.offset)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size - self.offset


@dataclass(frozen=True, slots=True)
class Upload:
    """What is brought to one device."""

    send: tuple[Piece, ...]
    brought: tuple[tuple[str, tuple[str, ...]], ...]
    """Files that then are there in pieces: sha256 in hex, names of the pieces."""
    kept: tuple[str, ...]
    """Files that the device has already: sha256 in hex."""

    @property
    def size(self) -> int:
        """Bytes that travel."""
        return sum(piece.size for piece in self.send)


def piece_name(digest: str, offset: int) -> str:
    """Name a piece."""
    return f"{digest}.{offset}" if offset else digest


def plan_upload(files: Iterable[PayloadFile], blobs: Mapping[str, int], incoming: Mapping[str, int]) -> Upload:
    """Choose what to bring.

    Args:
        files: The payload.
        blobs: Sizes of whole files on the device, by sha256 in hex.
        incoming: Sizes of pieces on the device, by name.
    """
    send: list[Piece] = []
    brought: list[tuple[str, tuple[str, ...]]] = []
    kept: list[str] = []
    for digest, file in {hex_of(file.digest): file for file in files}.items():
        if blobs.get(digest) == file.size:
            kept.append(digest)
            continue
        pieces, have = _have(digest, file.size, incoming)
        if have < file.size or not pieces:
            send.append(Piece(file, have))
            pieces = (*pieces, send[-1].name)
        brought.append((digest, pieces))
    return Upload(tuple(send), tuple(brought), tuple(kept))


def _have(digest: str, size: int, incoming: Mapping[str, int]) -> tuple[tuple[str, ...], int]:
    """Follow the pieces that continue each other."""
    pieces: list[str] = []
    have = 0
    while (length := incoming.get(piece_name(digest, have), 0)) > 0 and have + length <= size:
        pieces.append(piece_name(digest, have))
        have += length
        if len(pieces) > MOST_PIECES:
            return (), 0
    return tuple(pieces), have


def unneeded(blobs: Iterable[str], payloads: Iterable[Sequence[PayloadFile]]) -> tuple[str, ...]:
    """Choose blobs that no payload needs: sha256 in hex."""
    needed = {hex_of(file.digest) for files in payloads for file in files}
    return tuple(sorted(digest for digest in blobs if digest not in needed and _is_digest(digest)))


def _is_digest(name: str) -> bool:
    return len(name) == 64 and all(letter in "0123456789abcdef" for letter in name)
