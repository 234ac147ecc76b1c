"""``POST /hooks/{forge}``: takes webhooks in, within bounds, and wakes the controller. Included by ``app``.

Anyone may send anything here, so what is spent on a request before it is authentic is bounded: its size, the time it
may take to arrive, and the memory that all of them hold together.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from edgewright.controller.wakeups import WakeupSink
from edgewright.secret import Secret
from edgewright.server.hooks.webhooks import (
    FORGES,
    Hook,
    Refusal,
    RefusalReason,
    RepositoryNames,
    delivery_of,
    read_webhook,
)
from edgewright.server.request_log import note

_DRAINED = 4
"""Times the limit that is read and thrown away, so that a sender hears 413 instead of a closed connection."""
_LARGE_BYTES = 256 << 10
"""Bodies from here on are hashed and parsed beside the server's loop."""

_STATUS: Mapping[RefusalReason, HTTPStatus] = {
    "unknown-forge": HTTPStatus.NOT_FOUND,
    "no-secret": HTTPStatus.UNAUTHORIZED,
    "not-authentic": HTTPStatus.UNAUTHORIZED,
    "unsupported": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "malformed": HTTPStatus.BAD_REQUEST,
    "other-repository": HTTPStatus.ACCEPTED,
}


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Settings of the intake of webhooks."""

    secrets: tuple[Secret, ...] = ()
    """Any of them proves a sender; without one, every webhook is refused."""
    repository: RepositoryNames = field(default_factory=RepositoryNames)
    max_bytes: int = 5 << 20
    body_seconds: float = 10.0
    """A body that has not arrived by then is given up."""
    held_bytes: int = 64 << 20
    """What all bodies that are arriving may hold together."""


class _Refused(Exception):
    """A body that is not read to its end."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def hooks_router(settings: HookSettings, wakeups: WakeupSink) -> APIRouter:
    """Webhooks of all forges."""
    router = APIRouter()
    bodies = _Bodies(settings)

    @router.post("/hooks/{forge}")
    async def receive(forge: str, request: Request) -> JSONResponse:
        if forge not in FORGES:
            return _answer(HTTPStatus.NOT_FOUND, {"error": "there is no such forge"})
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers.raw}
        note(request, forge=forge, delivery=delivery_of(headers))
        try:
            body = await bodies.read(request)
        except _Refused as refused:
            return _answer(refused.status, {"error": refused.message}, {"Connection": "close"})
        try:
            outcome = await _read(forge, headers, body, settings)
        finally:
            bodies.release(body)
        note(request, outcome=outcome.kind if isinstance(outcome, Hook) else outcome.reason)
        return _refuse(forge, outcome) if isinstance(outcome, Refusal) else _take(outcome, wakeups)

    return router


def _take(hook: Hook, wakeups: WakeupSink) -> JSONResponse:
    if hook.wakes:
        wakeups.notify(hook)
        return _answer(HTTPStatus.ACCEPTED, {"accepted": True, "kind": hook.kind})
    if hook.kind == "ping":
        return _answer(HTTPStatus.OK, {"accepted": True, "kind": hook.kind})
    return _answer(
        HTTPStatus.ACCEPTED, {"accepted": False, "kind": hook.kind, "reason": "nothing depends on this event"}
    )


def _refuse(forge: str, refusal: Refusal) -> JSONResponse:
    status = _STATUS[refusal.reason]
    if status is HTTPStatus.ACCEPTED:
        return _answer(status, {"accepted": False, "reason": refusal.message})
    asks = status is HTTPStatus.UNAUTHORIZED and forge == "azure"
    return _answer(status, {"error": refusal.message}, {"WWW-Authenticate": 'Basic realm="webhooks"'} if asks else {})


async def _read(forge: str, headers: Mapping[str, str], body: bytes, settings: HookSettings) -> Hook | Refusal:
    wanted = (forge, headers, body, settings.secrets, settings.repository)
    return read_webhook(*wanted) if len(body) < _LARGE_BYTES else await asyncio.to_thread(read_webhook, *wanted)


class _Bodies:
    """The bodies that are arriving, on the server's one loop."""

    def __init__(self, settings: HookSettings) -> None:
        self._settings = settings
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """Read a body to its end; the caller releases it.

        Raises:
            _Refused: It is too large, too slow or cut off, or too many are arriving.
        """
        if _declared(request) > _DRAINED * self._settings.max_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                await self._fill(body, request)
        except TimeoutError:
            self.release(body)
            raise _Refused(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time") from None
        except ClientDisconnect:
            self.release(body)
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body was cut off") from None
        except BaseException:
            self.release(body)
            raise
        return bytes(body)

    def release(self, body: bytes | bytearray) -> None:
        """Give back what a body held."""
        self._held -= len(body)

    async def _fill(self, body: bytearray, request: Request) -> None:
        arrived = 0
        async for chunk in request.stream():
            arrived += len(chunk)
            if arrived > _DRAINED * self._settings.max_bytes:
                raise self._too_large()
            if arrived > self._settings.max_bytes:
                self.release(body)
                body.clear()
                continue
            if self._held + len(chunk) > self._settings.held_bytes:
                raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many bodies are arriving; come again")
            self._held += len(chunk)
            body += chunk
        if arrived > self._settings.max_bytes:
            raise self._too_large()

    def _too_large(self) -> _Refused:
        return _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {self._settings.max_bytes} bytes")


def _declared(request: Request) -> int:
    """Return the announced length of a body; it is only used to refuse what is too long."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) <= 19 else 0


def _answer(
    status: HTTPStatus, content: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(content, status, headers)
