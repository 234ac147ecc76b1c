"""What a request is answered with. Made by ``desk``, sent by ``server.mender_routes``."""

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
    """An HTTP answer. Its body is ``body``, or, of a file, what ``content`` gives."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Iterator[bytes] | None = None
    length: int = 0
    """Of ``content``, in bytes."""
    device: str | None = None
    """Whose request it was, once that is known."""


def empty(device: str) -> MenderResponse:
    """There is nothing to say, and all is well."""
    return MenderResponse(NO_CONTENT, device=device)


def refusal(status: int, message: str, device: str | None = None) -> MenderResponse:
    """Say why not, as Mender's servers do."""
    return MenderResponse(status, JSON, canonical_json({"error": message}), device=device)


def file(content: ComposedFile, tag: str, wanted: str, unless: str, device: str) -> MenderResponse:
    """Send a file, or the part of it that is wanted.

    Args:
        content: The file.
        tag: A strong entity tag, without quotes.
        wanted: The header ``Range``; what is no single range of bytes is passed over, and the whole is sent.
        unless: The header ``If-Range``: another tag, and the whole is sent.
        device: Whose request it is.
    """
    headers = {**ARTIFACT, "ETag": f'"{tag}"'}
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or not any(match.groups()) or unless.strip() not in {"", f'"{tag}"'}:
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
