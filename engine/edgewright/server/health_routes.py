"""``GET /healthz`` and ``GET /readyz``, for whatever restarts processes and directs traffic. Included by ``app``."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from edgewright.controller.health import Check, Health


def health_router(health: Health) -> APIRouter:
    """The two questions, answered from ``health``: 200 for yes, 503 for no, and why."""
    router = APIRouter()

    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> JSONResponse:
        checks = health.alive()
        alive = all(check.ok for check in checks)
        return JSONResponse({"alive": alive, "checks": _listed(checks)}, 200 if alive else 503)

    @router.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> JSONResponse:
        readiness = health.ready()
        content = {"ready": readiness.ok, "role": readiness.role, "checks": _listed(readiness.checks)}
        return JSONResponse(content, 200 if readiness.ok else 503)

    return router


def _listed(checks: Iterable[Check]) -> list[dict[str, Any]]:
    return [{"name": check.name, "ok": check.ok, "message": check.message} for check in checks]
