"""Serves the bytes of a bundle, whole or in ranges. Called by ``service``.
Format: RFC 9110, sections 13 (conditional requests) and 14 (ranges). Several ranges at once are answered with all
bytes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from edgewright.delivery.bundles.cache import BuiltBundle

CHUNK = 256 << 10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class DownloadResponse:
    """A response with bytes of a file."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))


def download_response(
    bundle: BuiltBundle, headers: Mapping[str, str], *, only_head: bool, sent: Callable[[], None]
) -> DownloadResponse:
    """Build the response to a request for a bundle.

    Args:
        bundle: The bundle.
        headers: Of the request, names in lower case.
        only_head: True for a HEAD request.
        sent: Called before the bundle's last byte is handed over.

    Raises:
        OSError: The bundle was removed.
    """
    tag = f'"{bundle.sha256}"'
    always = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if tag in {each.strip() for each in headers.get("if-none-match", "").split(",")}:
        return DownloadResponse(304, always)
    wanted = _range(headers, tag, bundle.size)
    if wanted is None:
        return DownloadResponse(416, {**always, "Content-Range": f"bytes */{bundle.size}", "Content-Length": "0"})
    start, end, status = wanted
    always["Content-Length"] = str(end - start)
    if status == 206:
        always["Content-Range"] = f"bytes {start}-{end - 1}/{bundle.size}"
    if only_head:
        return DownloadResponse(status, always)
    return DownloadResponse(
        status, always, _chunks(bundle.path.open("rb"), start, end, sent if end == bundle.size else None)
    )


def _range(headers: Mapping[str, str], tag: str, size: int) -> tuple[int, int, int] | None:
    """Find the first byte, the one after the last, and the status; None: there are no such bytes."""
    asked = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if asked is None or asked.group(0) == "bytes=-" or headers.get("if-range", tag) != tag:
        return 0, size, 200
    first, last = asked.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    return (start, end, 206) if start < end else None


def _chunks(file: BinaryIO, start: int, end: int, sent: Callable[[], None] | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK, end - start))
            if not chunk:
                raise OSError("the bundle has become shorter")
            start += len(chunk)
            if start == end and sent is not None:
                sent()
            yield chunk
