"""Writes cpio archives in the format that SWUpdate reads, "crc" (magic 070702). Called by ``swu``.

Format: cpio(5), "New CRC Format": a header of hexadecimal numbers, the name, the content, each padded to four bytes;
the check is the sum of the content's bytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgewright.errors import DeliveryError

_MAGIC = b"070702"
_MODE = 0o100644
_END = "TRAILER!!!"
_BLOCK = 512
_CHUNK = 1 << 20
_MAX_SIZE = (1 << 32) - 1


class CpioWriter:
    """An archive that is being written; entries keep their order.

    Nothing in it depends on when or where it was written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._count = 0
        self._written = 0

    def add(self, name: str, content: bytes | Path) -> None:
        """Add a file.

        Raises:
            DeliveryError: It has more than 4 GiB, the limit of the format.
            OSError: It cannot be read, or the archive cannot be written.
        """
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > _MAX_SIZE:
            raise DeliveryError(
                f"{content if isinstance(content, Path) else name} has {size:,} bytes; a .swu file takes 4 GiB at most",
                hint="make the model smaller, or reach these devices by another update system",
            )
        self._count += 1
        self._header(name, size, _check(content), self._count)
        for chunk in _chunks(content):
            self._write(chunk)
        self._pad(4)

    def close(self) -> None:
        """Write the archive's end."""
        self._header(_END, 0, 0, 0)
        self._pad(_BLOCK)

    def _header(self, name: str, size: int, check: int, inode: int) -> None:
        encoded = name.encode() + b"\0"
        mode, links = (_MODE, 1) if inode else (0, 1)
        fields = (inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(encoded), check)
        self._write(_MAGIC + b"".join(b"%08X" % field for field in fields) + encoded)
        self._pad(4)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._written += len(data)

    def _pad(self, multiple: int) -> None:
        self._write(b"\0" * (-self._written % multiple))


def _check(content: bytes | Path) -> int:
    import numpy as np  # adds up bytes a hundred times faster than Python, and takes long to import

    return sum(int(np.frombuffer(chunk, np.uint8).sum(dtype=np.uint64)) for chunk in _chunks(content)) & _MAX_SIZE


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
