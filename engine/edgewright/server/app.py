"""The controller's HTTP application: webhooks and health; whatever else it serves is handed in as routers.

Every part is a router in a module of its own, made from the ports it needs. Run by ``serving``.
"""

from collections.abc import Sequence
from http import HTTPStatus

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from edgewright.controller.health import Health
from edgewright.controller.wakeups import WakeupSink
from edgewright.server.health_routes import health_router
from edgewright.server.hooks.routes import HookSettings, hooks_router
from edgewright.server.request_log import RequestLog, logger

__all__ = ["HookSettings", "create_app"]


def create_app(
    hooks: HookSettings, wakeups: WakeupSink, health: Health, *, routers: Sequence[APIRouter] = ()
) -> FastAPI:
    """Make the application; without a secret it says, once, that it refuses every webhook."""
    app = FastAPI(title="edgewright", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(RequestLog)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _not_understood)
    for router in (health_router(health), hooks_router(hooks, wakeups), *routers):
        app.include_router(router)
    if not any(secret.reveal().strip() for secret in hooks.secrets):
        logger().warning("no webhook secret is configured: every webhook is refused, changes are found by polling")
    return app


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    """No such route or method, in the words of all answers here."""
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"error": status.phrase.lower()}, status, headers)


async def _not_understood(_request: Request, _error: Exception) -> JSONResponse:
    """Parameters of the wrong type; what was sent is not repeated."""
    return JSONResponse({"error": "the request was not understood"}, HTTPStatus.UNPROCESSABLE_ENTITY)
