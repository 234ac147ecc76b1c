"""``/{tenant}/controller/v1/{device}…``: hawkBit's device API. Thin: what is answered, a ``DdiService`` says.

Included by ``app``. A tenant is an environment; ``DEFAULT`` stands for a repository without any.
"""

from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from edgewright.delivery.served.ddi.downloads import DownloadResponse
from edgewright.delivery.served.ddi.messages import MAX_BODY_BYTES
from edgewright.delivery.served.ddi.service import DdiRequest, DdiResponse, DdiService
from edgewright.errors import EdgewrightError
from edgewright.server.devices.bodies import Bodies, BodyRefused
from edgewright.server.request_log import logger, note, routine

DEFAULT = "DEFAULT"
_HOME = "/{tenant}/controller/v1/{device}"
_TYPE = "application/hal+json;charset=UTF-8"

Find = Callable[[str], DdiService | None]
"""Finds the service of an environment by its name."""
Work = Callable[[DdiService, DdiRequest, bytes], DdiResponse | DownloadResponse]


def ddi_router(find: Find) -> APIRouter:
    """The device API for all environments.

    Args:
        find: Finds an environment's service; without environments, by "".
    """
    router = APIRouter()
    way_in = _WayIn(find)

    @router.get(_HOME)
    async def base(request: Request) -> Response:
        return await way_in.answer(request, lambda service, call, _body: service.base(call))

    @router.put(f"{_HOME}/configData")
    async def attributes(request: Request) -> Response:
        return await way_in.answer(request, lambda service, call, body: service.attributes(call, body))

    @router.get(f"{_HOME}/deploymentBase/{{action}}")
    async def deployment(action: str, request: Request) -> Response:
        return await way_in.answer(request, lambda service, call, _body: service.deployment(call, action))

    @router.post(f"{_HOME}/deploymentBase/{{action}}/feedback")
    async def feedback(action: str, request: Request) -> Response:
        return await way_in.answer(request, lambda service, call, body: service.feedback(call, action, body))

    @router.get(f"{_HOME}/cancelAction/{{action}}")
    async def cancelation(action: str, request: Request) -> Response:
        return await way_in.answer(request, lambda service, call, _body: service.cancelation(call, action))

    @router.post(f"{_HOME}/cancelAction/{{action}}/feedback")
    async def cancelation_feedback(action: str, request: Request) -> Response:
        return await way_in.answer(
            request, lambda service, call, body: service.cancelation_feedback(call, action, body)
        )

    @router.get(f"{_HOME}/installedBase/{{action}}")
    async def installed(action: str, request: Request) -> Response:
        return await way_in.answer(request, lambda service, call, _body: service.installed(call, action))

    @router.api_route(f"{_HOME}/softwaremodules/{{action}}/artifacts/{{name}}", methods=["GET", "HEAD"])
    async def artifact(action: str, name: str, request: Request) -> Response:
        headers, is_head = dict(request.headers), request.method == "HEAD"
        return await way_in.answer(
            request, lambda service, call, _body: service.download(call, action, name, headers, only_head=is_head)
        )

    return router


class _WayIn:
    """Finds the service, bounds bodies, and turns what comes of a request into an answer."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._bodies = Bodies()

    async def answer(self, request: Request, work: Work) -> Response:
        """Work on a request in a thread of the pool."""
        routine(request)
        call = _call(request)
        note(request, device=call.device)
        try:
            body = await self._bodies.read(request, MAX_BODY_BYTES)
        except BodyRefused as refused:
            return JSONResponse({"error": refused.message}, refused.status, {"Connection": "close"})
        try:
            outcome = await run_in_threadpool(partial(self._work, call, body, work))
        finally:
            self._bodies.release(body)
        if isinstance(outcome, DownloadResponse):
            return StreamingResponse(_checked(outcome), outcome.status, dict(outcome.headers))
        return _written(outcome)

    def _work(self, call: DdiRequest, body: bytes, work: Work) -> DdiResponse | DownloadResponse:
        try:
            service = self._find("" if call.tenant.upper() == DEFAULT else call.tenant)
        except EdgewrightError as error:
            logger().error("a device could not be answered", error=error.message, hint=error.hint)
            return DdiResponse(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "not now; come again"}, {"Retry-After": "30"})
        if service is None:
            return DdiResponse(HTTPStatus.NOT_FOUND, {"error": "there is no such tenant"})
        return work(service, call, body)


def _call(request: Request) -> DdiRequest:
    where = f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"
    parameters = request.path_params
    return DdiRequest(parameters["tenant"], parameters["device"], request.headers.get("authorization", ""), where)


def _checked(sending: DownloadResponse) -> Iterator[bytes]:
    """Pass the bytes on; what goes wrong meanwhile breaks the connection off, and is in the log."""
    try:
        yield from sending.chunks
    except (EdgewrightError, OSError) as error:
        logger().error("a download was broken off", error=str(error))
        raise


def _written(answer: DdiResponse) -> Response:
    headers = dict(answer.headers)
    if answer.content is None:
        return Response(status_code=answer.status, headers=headers)
    return JSONResponse(answer.content, answer.status, headers, media_type=_TYPE)
