"""Takes in what devices send, within bounds: how much, how long, how much of all together. Used by routes."""

import asyncio
from http import HTTPStatus

from fastapi import Request
from starlette.requests import ClientDisconnect

SECONDS = 30.0
"""A body that has not arrived by then is given up."""
HELD = 64 << 20
"""Bytes that all bodies may hold together while they arrive and are worked on."""


class BodyRefused(Exception):
    """A body that is not read to its end; its connection is to be closed."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Bodies:
    """The bodies that are arriving, on the server's one loop."""

    def __init__(self, held: int = HELD, seconds: float = SECONDS) -> None:
        self._most_held = held
        self._seconds = seconds
        self._held = 0

    async def read(self, request: Request, most: int) -> bytes:
        """Read a body of at most so many bytes; the caller releases it.

        Raises:
            BodyRefused: It is too large, too slow or cut off, or too many are arriving.
        """
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and (len(length) > 19 or int(length) > most):
            raise _too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > most:
                        raise _too_large(most)
                    if self._held + len(chunk) > self._most_held:
                        message = "too many bodies are arriving; come again"
                        raise BodyRefused(HTTPStatus.SERVICE_UNAVAILABLE, message)
                    self._held += len(chunk)
                    body += chunk
        except BaseException as error:
            self.release(body)
            match error:
                case TimeoutError():
                    raise BodyRefused(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time") from None
                case ClientDisconnect():
                    raise BodyRefused(HTTPStatus.BAD_REQUEST, "the body was cut off") from None
                case _:
                    raise
        return bytes(body)

    def release(self, body: bytes | bytearray) -> None:
        """Give back what a body held."""
        self._held -= len(body)


def _too_large(most: int) -> BodyRefused:
    return BodyRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {most} bytes")
