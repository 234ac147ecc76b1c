"""The API of agents, ``/agent/{environment}/…``: the published repository, reports, enrollment. In front of ``app``.

It is ASGI itself, because agents ask thousands of times a second; of them, only what is refused or enrolled is logged.
``cli`` makes a service for each environment, and hands them over as ``find``.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from edgewright.errors import EdgewrightError
from edgewright.server.devices.agent_answers import Gone, send_json
from edgewright.server.devices.agent_posts import CALLS, Posts
from edgewright.server.devices.agent_service import AgentService
from edgewright.server.devices.peers import Peers
from edgewright.server.devices.report_intake import busy
from edgewright.server.devices.repository_polls import NAME, Polls
from edgewright.server.protocol import Headers
from edgewright.server.request_log import logger
from edgewright_wire.layout import METADATA

ROOT = "/agent/"
UNNAMED = "default"
"""What the only environment is called where the repository declares none."""
_TIMESTAMP = f"{METADATA}/{NAME}"
_READERS = 8
_FOUND_SECONDS = 1.0
_MOST_FOUND = 1_000
_SAID_SECONDS = 60.0
"""It is logged at most so often that agents cannot be served."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The cached service of an environment, until a time of the server's loop."""

    until: float
    service: AgentService | None = None
    error: EdgewrightError | None = None


class AgentApp:
    """The API, in front of another application.

    Args:
        find: Gives the service of an environment, by its name; of a repository without environments, by ``""``. Asked
            now and then, on a thread; may raise EdgewrightError.
        peers: How peers are told apart.
        rest: Answers everything else.
    """

    def __init__(self, find: Callable[[str], AgentService | None], peers: Peers, rest: ASGIApp) -> None:
        self._find = find
        self._rest = rest
        self._posts = Posts(peers)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="repository")
        self._polled: dict[bytes, Polls] = {}
        self._found: dict[str, _Found] = {}
        self._said = -_SAID_SECONDS

    def instant(self, target: bytes, headers: Headers) -> bytes | None:
        """As server.protocol.Instant: polls that need not be held."""
        polls = self._polled.get(target)
        return polls.instant(headers) if polls is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is asked below ``/agent/``, and pass everything else on."""
        if scope["type"] == "http" and scope["path"].startswith(ROOT):
            await self._answer(scope, receive, send)
            return
        await self._rest(scope, receive, send)
        if scope["type"] == "lifespan":
            self._readers.shutdown(wait=False)
            self._posts.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        environment, _, path = scope["path"].removeprefix(ROOT).partition("/")
        headers = dict(scope["headers"])
        try:
            service = await self._service(environment)
        except EdgewrightError:
            away = busy("the controller cannot serve this environment now; see its log", 2)
            await send_json(send, away.status, {"error": away.error}, [(b"retry-after", b"%d" % away.retry_after)])
            return
        if service is None:
            await send_json(send, 404, {"error": "there is no such environment"})
        elif path.startswith("repository/"):
            await self._repository(service, path.removeprefix("repository/"), scope, headers, receive, send)
        elif path not in CALLS:
            await send_json(send, 404, {"error": "not found"})
        elif scope["method"] != "POST":
            await send_json(send, 405, {"error": "method not allowed"}, [(b"allow", b"POST")])
        else:
            await self._posts.answer(service, path, scope, headers, receive, send)

    async def _service(self, environment: str) -> AgentService | None:
        """Find a service, which may need the store, and remember it, or that there is none, for a moment.

        Raises:
            EdgewrightError: It cannot be found now.
        """
        loop = asyncio.get_running_loop()
        found = self._found.get(environment)
        if found is None or loop.time() >= found.until or (found.service is not None and found.service.ended):
            found = await loop.run_in_executor(self._readers, self._look_up, environment, loop.time())
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[environment] = found
        if found.error is not None:
            raise found.error.with_traceback(None)
        return found.service

    def _look_up(self, environment: str, now: float) -> "_Found":
        try:
            service = self._find(environment)
            if service is None and environment == UNNAMED:
                service = self._find("")
        except EdgewrightError as error:
            if now - self._said >= _SAID_SECONDS:
                self._said = now
                logger().warning("agents cannot be served yet", environment=environment, error=error.message)
            return _Found(now + _FOUND_SECONDS, error=error)
        return _Found(now + _FOUND_SECONDS, service)

    async def _repository(
        self,
        service: AgentService,
        path: str,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
    ) -> None:
        method = scope["method"]
        if method not in {"GET", "HEAD"}:
            await send_json(send, 405, {"error": "method not allowed"}, [(b"allow", b"GET, HEAD")])
            return
        async with Gone(receive) as gone:
            if path == _TIMESTAMP:
                if scope["raw_path"] == scope["path"].encode():  # one spelling of many
                    self._polled[scope["raw_path"]] = service.polls
                await service.polls.answer(method, headers, send, gone)
            else:
                await service.files.answer(method, path, headers, send, gone.is_known, self._readers)
