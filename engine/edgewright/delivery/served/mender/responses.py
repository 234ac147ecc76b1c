"""Builds responses. Called by ``service``; ``server.devices.mender_routes`` sends them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgewright.delivery.served.mender.composed_file import ComposedFile
from edgewright_wire.canonical import canonical_json

OK, NO_CONTENT, PARTIAL = 200, 204, 206
BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, CONFLICT, GONE, RANGE = 400, 401, 404, 409, 410, 416
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
JSON: Mapping[str, str] = {"Content-Type": "application/json"}
ARTIFACT: Mapping[str, str] = {"Content-Type": "application/vnd.mender-artifact", "Accept-Ranges": "bytes"}


@dataclass(frozen=True, slots=True)
class MenderResponse:
    """An HTTP response. Its body is ``body``, or the chunks of ``content`` for a file."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Iterator[bytes] | None = None
    length: int = 0
    """Of ``content``, in bytes."""
    device: str | None = None
    """The device that sent the request, once it is known."""


def empty(device: str) -> MenderResponse:
    """Build an empty response of success."""
    return MenderResponse(NO_CONTENT, device=device)


def refusal(status: int, message: str, device: str | None = None) -> MenderResponse:
    """Build an error response, as Mender's servers do."""
    return MenderResponse(status, JSON, canonical_json({"error": message}), device=device)


def file(content: ComposedFile, tag: str, range_: str, if_range: str, device: str) -> MenderResponse:
    """Build the response with a file, or the requested range of it.

    Args:
        content: The file.
        tag: A strong entity tag, without quotes.
        range_: The header ``Range``; the whole file is sent for anything but a single range of bytes.
        if_range: The header ``If-Range``; the whole file is sent for another tag.
        device: The device that sent the request.
    """
    headers = {**ARTIFACT, "ETag": f'"{tag}"'}
    match = _RANGE.fullmatch(range_.strip())
    if match is None or not any(match.groups()) or if_range.strip() not in {"", f'"{tag}"'}:
        return MenderResponse(OK, headers, content=content.read(), length=content.size, device=device)
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1 if last else content.size, content.size)
    else:
        start, end = max(content.size - int(last), 0), content.size
    if start >= end:
        nothing = {**headers, **JSON, "Content-Range": f"bytes */{content.size}"}
        return MenderResponse(RANGE, nothing, canonical_json({"error": "there are no such bytes"}), device=device)
    part = {**headers, "Content-Range": f"bytes {start}-{end - 1}/{content.size}"}
    return MenderResponse(PARTIAL, part, content=content.read(start, end), length=end - start, device=device)
