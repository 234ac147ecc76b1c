"""edgewright as a hawkBit server: service and driver on a rig's grounds, over real HTTP. The engine behind it can end
and start again, and so can the server, at the same address.
"""

import asyncio
import threading
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgewright.delivery.identity.credentials import create_credentials, load_bundle_keys
from edgewright.delivery.served.ddi.authentication import issue_token
from edgewright.delivery.served.ddi.driver import DdiDriver
from edgewright.delivery.served.ddi.service import DdiService
from edgewright.server.devices.ddi_routes import ddi_router
from edgewright.server.devices.forwarded import ForwardedApp
from edgewright.server.devices.peers import Peers
from rigs.base import Grounds
from rigs.sites import Site

NO_PROXY = Peers()
_PIECE, _PACE = 8 << 10, 0.1


class DdiSite(Site):
    """One controller with one environment."""

    def __init__(
        self, grounds: Grounds, environment: str = "", url: str | None = None, peers: Peers = NO_PROXY
    ) -> None:
        self.grounds = grounds
        self.environment = environment
        self.tenant = environment or "DEFAULT"
        self.files: dict[str, bytes] = {}
        """Of the repository."""
        create_credentials(grounds.keys)
        self.certificate = load_bundle_keys(grounds.keys).certificate_file
        self.news = threading.Event()
        self.is_slow = False
        """Artifacts come as over a slow line: 80 KB in a second."""
        self.damages: tuple[bytes, bytes] | None = None
        """Changes the bytes of artifacts on their way."""
        self.requests: list[tuple[str, str, int]] = []
        """Method, path and status, in order."""
        self.bodies: list[tuple[str, bytes]] = []
        """Path and body of what devices told, in order."""
        self._declared_url = url
        self._peers = peers
        self._open()
        self.start()

    @property
    def cache(self) -> Path:
        return self.grounds.folder / "bundles"

    def _open(self) -> None:
        grounds, routes = self.grounds, self.grounds.routes
        built = {"cache": self.cache, "keys": grounds.keys, "read": lambda path: self.files[path]}
        self.driver = DdiDriver(grounds.twins, grounds.depot, lambda: routes, grounds.now, **built)  # type: ignore[arg-type] # a dict's values
        self.service = DdiService(
            environment=self.environment,
            twins=grounds.twins,
            identities=grounds.identities,
            routes=lambda: routes,
            depot=grounds.depot,
            clock=grounds.now,
            wake=self.news.set,
            url=self._declared_url,
            **built,  # type: ignore[arg-type] # a dict's values
        )

    def _app(self) -> ASGIApp:
        app = FastAPI(openapi_url=None)
        app.include_router(ddi_router(lambda name: self.service if name == self.environment else None))
        app.add_middleware(_Gate, site=self)
        return ForwardedApp(app, self._peers)

    def token(self, device: str) -> str:
        """Make a device's token."""
        return issue_token(self.grounds.identities, device, self.grounds.now()).reveal()

    def told(self, device: str) -> list[bytes]:
        """Return the feedback of a device on its actions."""
        return [body for path, body in self.bodies if f"/{device}/" in path and path.endswith("/feedback")]


class _Gate:
    """Writes down what is asked and told, and is the line over which artifacts come."""

    def __init__(self, app: ASGIApp, site: DdiSite) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, body = scope["path"], bytearray()

        async def heard() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if body and not message.get("more_body"):
                self._site.bodies.append((path, bytes(body)))
            return message

        async def held(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._site.requests.append((scope["method"], path, message["status"]))
            elif "/artifacts/" in path and message.get("body"):
                await self._send_artifact(message, send)
                return
            await send(message)

        await self._app(scope, heard, held)

    async def _send_artifact(self, message: Message, send: Send) -> None:
        body = bytes(message["body"])
        if self._site.damages is not None:
            body = body.replace(*self._site.damages)
        size = _PIECE if self._site.is_slow else len(body)
        for at in range(0, len(body), size):
            if self._site.is_slow:
                await asyncio.sleep(_PACE)
            more = at + size < len(body) or message.get("more_body", False)
            await send({**message, "body": body[at : at + size], "more_body": more})
