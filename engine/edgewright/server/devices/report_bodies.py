"""Bodies of the agent API: read within bounds, unpacked within bounds, understood or refused in words.

Anyone may send anything. What is spent on a body is bounded: its size, packed and unpacked, the time it may take, and
what all that are arriving hold together. Used by ``agent_app``.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import ValidationError
from starlette.types import Receive

from edgewright_wire.messages import Report, WireModel

M = TypeVar("M", bound=WireModel)
MOST_BYTES = 1 << 20
"""Of a body as it is sent."""
MOST_UNPACKED = 8 << 20
MOST_REPORTS = 1_000
HELD_BYTES = 64 << 20
"""What all bodies that are arriving may hold together."""
BODY_SECONDS = 10.0
_DRAINED = 4
"""Times the limit that is read and thrown away, so that a sender hears 413 instead of a closed connection."""
_MOST_PROBLEMS = 5
_LARGEST_SEQUENCE = 2**63 - 1
"""What the store holds."""
_TIMES = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class Refused(Exception):
    """A body that is not taken: HTTP's status, and why in words for its sender."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Bodies:
    """The bodies that are arriving, on the server's one loop."""

    def __init__(self, held_bytes: int = HELD_BYTES, most_bytes: int | None = None, *, packed: bool = True) -> None:
        """Bound bodies.

        Args:
            held_bytes: What all of them may hold together; of one address a quarter of it.
            most_bytes: Of one; by default ``MOST_BYTES``.
            packed: Whether they may be packed.
        """
        self._most = held_bytes
        self._most_bytes = most_bytes
        self._packed = packed
        self._held = 0
        self._of_address: Counter[str] = Counter()

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive, address: str = "") -> bytes:
        """Read a body to its end, unpacked.

        Args:
            headers: Of the request.
            receive: Gives its pieces.
            address: Of a sender who is bounded for itself; empty: bounded with all others only.

        Raises:
            Refused: It is too large, too slow, cut off or packed in an unknown way, or too many are arriving.
        """
        most = MOST_BYTES if self._most_bytes is None else self._most_bytes
        _check_headers(headers, most, packed=self._packed)
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                await self._fill(body, receive, most, address)
            packed = headers.get(b"content-encoding", b"identity").lower()
            return bytes(body) if packed == b"identity" else unpacked(body)
        except TimeoutError:
            raise Refused(408, "the body did not arrive in time") from None
        finally:
            self._held -= len(body)
            if address:
                self._of_address[address] -= len(body)
                if not self._of_address[address]:
                    del self._of_address[address]

    async def _fill(self, body: bytearray, receive: Receive, most: int, address: str) -> None:
        arrived, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the body was cut off")
            piece, more = message.get("body", b""), message.get("more_body", False)
            arrived += len(piece)
            if arrived > _DRAINED * most:
                raise _too_large(most)
            if arrived > most:
                continue  # a sender that is heard out hears why
            is_much = bool(address) and self._of_address[address] + len(piece) > self._most // 4
            if is_much or self._held + len(piece) > self._most:
                raise Refused(503, "too many bodies are arriving; come again later")
            self._held += len(piece)
            if address:
                self._of_address[address] += len(piece)
            body += piece
        if arrived > most:
            raise _too_large(most)


def _check_headers(headers: Mapping[bytes, bytes], most: int, *, packed: bool) -> None:
    """Refuse what need not be read at all; a form's types are what browsers send for other people's pages."""
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise Refused(415, "Content-Type must be application/json")
    if headers.get(b"content-encoding", b"identity").lower() not in (
        {b"identity", b"gzip"} if packed else {b"identity"}
    ):
        raise Refused(
            415, "Content-Encoding must be gzip, or left out" if packed else "Content-Encoding must be left out"
        )
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and (len(length) > 18 or int(length) > _DRAINED * most):
        raise _too_large(most)


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body has more than {most} bytes")


def unpacked(body: bytes | bytearray) -> bytes:
    """Unpack gzip.

    Raises:
        Refused: It is none, or too large when unpacked.
    """
    inflating = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        content = inflating.decompress(body, MOST_UNPACKED + 1)
    except zlib.error:
        raise Refused(400, "the body is not packed with gzip, though its header says so") from None
    if len(content) > MOST_UNPACKED:
        raise Refused(413, f"the body has more than {MOST_UNPACKED} bytes when it is unpacked")
    if not inflating.eof or inflating.unused_data:
        raise Refused(400, "the body is not one whole gzip stream")
    return content


class _Reports(WireModel):
    reports: tuple[Report, ...]


def read_reports(body: bytes) -> Sequence[Report]:
    """Read ``{"reports": […]}``.

    Raises:
        Refused: It is malformed; says which report, and what of it.
    """
    try:
        reports = _Reports.from_bytes(body).reports
    except ValidationError as error:
        raise Refused(422, _words(error)) from None
    if len(reports) > MOST_REPORTS:
        raise Refused(413, f"there are more than {MOST_REPORTS} reports; send them in several requests")
    for number, report in enumerate(reports, start=1):
        if report.sequence > _LARGEST_SEQUENCE:
            raise Refused(422, f"report {number} ({report.device}): sequence: is too large")
        if not _TIMES[0] <= report.sent_at <= _TIMES[1]:
            raise Refused(422, f"report {number} ({report.device}): sentAt: is no time of any device")
    return reports


def _words(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    said = "; ".join(_problem(problem["loc"], problem["msg"]) for problem in problems[:_MOST_PROBLEMS])
    more = len(problems) - _MOST_PROBLEMS
    return said + (f"; and {more} more" if more > 0 else "")


def _problem(where: tuple[int | str, ...], message: str) -> str:
    match where:
        case ("reports", int(number), *fields):
            return f"report {number + 1}: {'.'.join(str(field) for field in fields) or 'it'}: {message}"
        case _:
            return f"{'.'.join(str(part) for part in where) or 'the body'}: {message}"


def read_message(kind: type[M], body: bytes) -> M:
    """Read another message.

    Raises:
        Refused: It is malformed.
    """
    try:
        return kind.from_bytes(body)
    except ValidationError as error:
        raise Refused(422, _words(error)) from None
