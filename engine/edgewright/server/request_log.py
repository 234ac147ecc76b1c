"""One log line for each request, and headers that keep browsers careful. Used by ``app`` and by routes.

Devices ask by the thousand, all day: of what they ask, only what went wrong is more than a line for debugging.
"""

import sys
import time
from typing import Any
from urllib.parse import quote

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOTES, _ROUTINE = "edgewright.notes", "edgewright.routine"
_LONGEST_PATH = 200
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""What an answer carries unless its route says otherwise."""


def note(request: HTTPConnection, **facts: str | None) -> None:
    """Add facts to this request's log line: short plain values, no bodies, no headers, no secrets."""
    request.scope.setdefault(_NOTES, {}).update(facts)


def routine(request: HTTPConnection) -> None:
    """Mark a request as one that devices make again and again."""
    request.scope[_ROUTINE] = True


def logger() -> Any:
    """The log of the server; on stderr where nobody has configured logging."""
    bound = structlog.get_logger("edgewright.server")
    return bound if structlog.is_configured() else structlog.wrap_logger(structlog.PrintLogger(sys.stderr))


class RequestLog:
    """Middleware around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, then log method, path, status, milliseconds and what routes noted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noticing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        scope[_NOTES] = {}
        try:
            await self._app(scope, receive, noticing)
        except Exception:
            status = 500
            raise
        finally:
            _log(scope, status, 1000 * (time.perf_counter() - began))


def _log(scope: Scope, status: int, milliseconds: float) -> None:
    facts = {
        "method": str(scope["method"])[:16],
        "path": quote(str(scope["path"])[:_LONGEST_PATH], errors="replace"),
        "status": status,
        "ms": round(milliseconds, 1),
    }
    notes = {name: value for name, value in scope[_NOTES].items() if value is not None}
    log = logger()
    write = log.error if status >= 500 and status != 503 else log.info
    if scope.get(_ROUTINE) and 0 < status < 400:
        write = log.debug
    write("request", **facts, **notes)
