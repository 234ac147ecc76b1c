"""Answers of the agent API, on ASGI itself: what is asked for thousands of times a second needs no framework."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

from starlette.types import Receive, Send

RawHeaders = Sequence[tuple[bytes, bytes]]


async def send_json(send: Send, status: int, content: Mapping[str, object] | bytes, headers: RawHeaders = ()) -> None:
    """Answer with JSON, which nobody may keep."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


class Gone:
    """Detects a client that has hung up; it starts looking when it is first asked."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def future(self) -> "asyncio.Future[None]":
        """Done when they have hung up."""
        if self._task is None:
            self._task = asyncio.create_task(self._wait())
        return self._task

    def is_known(self) -> bool:
        """True once the client is known to have hung up."""
        return self.future().done()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
