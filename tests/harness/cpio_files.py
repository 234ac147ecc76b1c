"""Reads a ``.swu`` as a device does, for devices that are simulated; cpio(5), formats 070701 and 070702."""

from collections.abc import Iterator

_HEADER = 110


def read_cpio(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Give names and contents, in order.

    Raises:
        ValueError: It is no archive, cut off, or a content does not have its check sum.
    """
    at = 0
    while True:
        header = data[at : at + _HEADER]
        if header[:6] not in {b"070701", b"070702"}:
            raise ValueError("cpio header corrupted")
        fields = [int(header[6 + 8 * number : 14 + 8 * number], 16) for number in range(13)]
        size, name_size, check = fields[6], fields[11], fields[12]
        name = data[at + _HEADER : at + _HEADER + name_size - 1].decode()
        start = _padded(at + _HEADER + name_size)
        content = data[start : start + size]
        if name == "TRAILER!!!":
            return
        if len(content) != size or (header[:6] == b"070702" and sum(content) & 0xFFFFFFFF != check):
            raise ValueError(f"{name}: the content is not as its header says")
        yield name, content
        at = _padded(start + size)


def _padded(at: int) -> int:
    return -(-at // 4) * 4
