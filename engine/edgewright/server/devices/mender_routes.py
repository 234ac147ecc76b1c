"""``/api/devices/…``: the device API of a Mender server. Thin: what is answered, a ``MenderService`` says.

Included by ``app``. Bodies are bounded before they are read, and of those who have no token, tighter.
"""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from edgewright.delivery.served.errors import MalformedMessage
from edgewright.delivery.served.mender.messages import read_auth_request
from edgewright.delivery.served.mender.responses import MenderResponse
from edgewright.delivery.served.mender.service import DEPLOYMENTS, MenderService
from edgewright.delivery.served.mender.tokens import TokenRejected, environment_of
from edgewright.errors import EdgewrightError
from edgewright.server.devices.bodies import Bodies, BodyRefused
from edgewright.server.devices.strangers import HELD_BYTES, Strangers, TooManyStrangers
from edgewright.server.request_log import logger, note, routine

SMALL, INVENTORY, LOG = 64 << 10, 1 << 20, 8 << 20
"""Bytes of the longest bodies."""
_RETRY = {"Retry-After": "30"}
_MOST_SIGNING_IN = 20
"""Devices at once, of the 40 threads that all share; others come again."""

Find = Callable[[str], MenderService | None]
"""Finds the service of an environment by its name."""
Work = Callable[[MenderService, str, bytes], MenderResponse]
"""Takes the service, the device's token and the body."""


class _Closed(Exception):
    """A request that no service sees."""

    def __init__(self, status: HTTPStatus, message: str, *, closes: bool = False) -> None:
        super().__init__(message)
        self.answer = JSONResponse({"error": message}, status, {"Connection": "close"} if closes else None)


def mender_router(find: Find) -> APIRouter:
    """The device API for all environments.

    Args:
        find: Finds an environment's service by the name that devices give as their tenant token; without one, by "".
    """
    router = APIRouter()
    way_in = _WayIn(find)

    @router.post("/api/devices/v1/authentication/auth_requests")
    async def authenticate(request: Request) -> Response:
        return await way_in.stranger(request)

    @router.patch("/api/devices/v1/inventory/device/attributes")
    async def merge_attributes(request: Request) -> Response:
        return await way_in.device(
            request, INVENTORY, lambda service, token, body: service.inventory(token, body, whole=False)
        )

    @router.put("/api/devices/v1/inventory/device/attributes")
    async def replace_attributes(request: Request) -> Response:
        return await way_in.device(
            request, INVENTORY, lambda service, token, body: service.inventory(token, body, whole=True)
        )

    @router.post(f"{DEPLOYMENTS.replace('v1', 'v2')}/next")
    async def next_deployment(request: Request) -> Response:
        base = _base(request)
        return await way_in.device(
            request, SMALL, lambda service, token, body: service.next_deployment(token, body, {}, base)
        )

    @router.get(f"{DEPLOYMENTS}/next")
    async def next_deployment_v1(request: Request) -> Response:
        base, asked = _base(request), dict(request.query_params)
        return await way_in.device(
            request, 0, lambda service, token, _body: service.next_deployment(token, None, asked, base)
        )

    @router.put(f"{DEPLOYMENTS}/{{deployment}}/status")
    async def status(deployment: str, request: Request) -> Response:
        return await way_in.device(request, SMALL, lambda service, token, body: service.status(token, deployment, body))

    @router.put(f"{DEPLOYMENTS}/{{deployment}}/log")
    async def log(deployment: str, request: Request) -> Response:
        return await way_in.device(request, LOG, lambda service, token, body: service.log(token, deployment, body))

    @router.get(f"{DEPLOYMENTS}/{{deployment}}/artifact")
    async def artifact(deployment: str, request: Request) -> Response:
        return await way_in.fetch(request, deployment)

    return router


class _WayIn:
    """Finds out which service a request is for, and turns what goes wrong into answers."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._bodies = Bodies()
        self._strange_bodies = Bodies(HELD_BYTES)
        self._strangers = Strangers(_MOST_SIGNING_IN)

    async def stranger(self, request: Request) -> Response:
        """Ask to be believed."""

        def work(body: bytes) -> MenderResponse:
            try:
                asks = read_auth_request(body)
            except MalformedMessage as error:
                raise _Closed(HTTPStatus.BAD_REQUEST, str(error)) from None
            service = self._find(asks.tenant_token)
            if service is None:
                raise _Closed(HTTPStatus.UNAUTHORIZED, "the tenant token names no environment")
            peer = request.client.host if request.client is not None else ""
            return service.authenticate(asks, request.headers.get("x-men-signature", ""), body, peer)

        try:
            with self._strangers.admit(request.client.host if request.client is not None else ""):
                return await self._answer(request, SMALL, work, self._strange_bodies)
        except TooManyStrangers:
            return _refused(
                _Closed(HTTPStatus.SERVICE_UNAVAILABLE, "too many devices sign in; come again", closes=True)
            )

    async def device(self, request: Request, most: int, work: Work) -> Response:
        """Do something for a device that shows its token."""
        routine(request)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if kind.lower() == "bearer" else ""
        try:
            service = await run_in_threadpool(self._service, token)
            if not service.is_ours(token):
                raise _Closed(HTTPStatus.UNAUTHORIZED, "the token does not count: ask for another", closes=True)
        except (_Closed, EdgewrightError) as error:
            return _refused(error)
        return await self._answer(request, most, lambda body: work(service, token, body))

    async def fetch(self, request: Request, deployment: str) -> Response:
        """Send an artifact; the link holds a token of its own, and clients show no other here."""
        routine(request)
        token = request.query_params.get("token", "")
        wanted, unless = request.headers.get("range", ""), request.headers.get("if-range", "")
        return await self._answer(
            request, 0, lambda _body: self._service(token).artifact(deployment, token, wanted, unless)
        )

    def _service(self, token: str) -> MenderService:
        try:
            service = self._find(environment_of(token))
        except TokenRejected as error:
            raise _Closed(HTTPStatus.UNAUTHORIZED, str(error), closes=True) from None
        if service is None:
            raise _Closed(HTTPStatus.UNAUTHORIZED, "the token is for another place", closes=True)
        return service

    async def _answer(
        self, request: Request, most: int, work: Callable[[bytes], MenderResponse], bodies: Bodies | None = None
    ) -> Response:
        """Read a body, work on it in a thread of the pool, and send what came of it."""
        bodies = bodies or self._bodies
        try:
            body = await bodies.read(request, most)
        except BodyRefused as refused:
            return _refused(_Closed(refused.status, refused.message, closes=True))
        try:
            answer = await run_in_threadpool(partial(work, body))
        except (_Closed, EdgewrightError) as error:
            return _refused(error)
        finally:
            bodies.release(body)
        note(request, device=answer.device)
        if answer.content is None:
            return Response(answer.body, answer.status, dict(answer.headers))
        headers = {**answer.headers, "Content-Length": str(answer.length)}
        return StreamingResponse(answer.content, answer.status, headers)


def _refused(error: _Closed | EdgewrightError) -> Response:
    """Answer an internal error without its details, which are in the log."""
    if isinstance(error, _Closed):
        return error.answer
    logger().error("a device could not be answered", error=error.message, hint=error.hint)
    return JSONResponse({"error": "not now; come again"}, HTTPStatus.SERVICE_UNAVAILABLE, _RETRY)


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"
