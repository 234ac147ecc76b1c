"""Plans an upload: the files of a payload that a device lacks, and the offset each continues at. Pure.

Called by ``upload``. A file is sent as ``incoming/<hex>``; an interrupted upload continues as
``incoming/<hex>.<offset>``, because the stream that carries the files can only create new ones. ``scripts.receive``
joins the parts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgewright.delivery.repository.depot import PayloadFile
from edgewright_wire.canonical import hex_of

MAX_PARTS = 50
"""A file whose upload was interrupted more often is sent again from its beginning."""


@dataclass(frozen=True, slots=True)
class UploadPart:
    """Bytes of a file from an offset to its end."""

    file: PayloadFile
    offset: int

    @property
    def name(self) -> str:
        """Temporary name on the device during upload."""
        return part_name(hex_of(self.file.digest), self.offset)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size - self.offset


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """The files to send to one device."""

    parts: tuple[UploadPart, ...]
    received: tuple[tuple[str, tuple[str, ...]], ...]
    """Files that are there in parts afterwards: sha256 in hex, names of the parts."""
    kept: tuple[str, ...]
    """Files that the device has whole already: sha256 in hex."""

    @property
    def size(self) -> int:
        """Bytes to send."""
        return sum(part.size for part in self.parts)


def part_name(digest: str, offset: int) -> str:
    """Return the name of a part."""
    return f"{digest}.{offset}" if offset else digest


def plan_upload(files: Iterable[PayloadFile], blobs: Mapping[str, int], incoming: Mapping[str, int]) -> UploadPlan:
    """Plan the upload of a payload.

    Args:
        files: The payload.
        blobs: Sizes of whole files on the device, by sha256 in hex.
        incoming: Sizes of parts on the device, by name.
    """
    parts: list[UploadPart] = []
    received: list[tuple[str, tuple[str, ...]]] = []
    kept: list[str] = []
    for digest, file in {hex_of(file.digest): file for file in files}.items():
        if blobs.get(digest) == file.size:
            kept.append(digest)
            continue
        names, offset = _received_parts(digest, file.size, incoming)
        if offset < file.size or not names:
            parts.append(UploadPart(file, offset))
            names = (*names, parts[-1].name)
        received.append((digest, names))
    return UploadPlan(tuple(parts), tuple(received), tuple(kept))


def _received_parts(digest: str, size: int, incoming: Mapping[str, int]) -> tuple[tuple[str, ...], int]:
    """Find the parts on the device that continue each other; return their names and their size together."""
    names: list[str] = []
    offset = 0
    while (length := incoming.get(part_name(digest, offset), 0)) > 0 and offset + length <= size:
        names.append(part_name(digest, offset))
        offset += length
        if len(names) > MAX_PARTS:
            return (), 0
    return tuple(names), offset


def unneeded(blobs: Iterable[str], payloads: Iterable[Sequence[PayloadFile]]) -> tuple[str, ...]:
    """Return the blobs that no payload needs: sha256 in hex."""
    needed = {hex_of(file.digest) for files in payloads for file in files}
    return tuple(sorted(digest for digest in blobs if digest not in needed and _is_digest(digest)))


def _is_digest(name: str) -> bool:
    return len(name) == 64 and all(letter in "0123456789abcdef" for letter in name)
