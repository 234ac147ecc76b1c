"""edgewright as Mender's server: service and driver on a rig's grounds, over real HTTP. It can end and start again at
the same address.
"""

import asyncio
import threading

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgewright.controller.health import ProcessHealth
from edgewright.controller.wakeups import Debouncer
from edgewright.delivery.identity.credentials import create_credentials, load_bundle_keys
from edgewright.delivery.served.mender.driver import SYSTEM, MenderDriver
from edgewright.delivery.served.mender.service import MenderService
from edgewright.ports import IdentityStatus
from edgewright.server.app import HookSettings, create_app
from edgewright.server.devices.mender_routes import mender_router
from rigs.base import Grounds
from rigs.sites import Site


class MenderSite(Site):
    """One controller with one environment."""

    def __init__(self, grounds: Grounds, environment: str = "") -> None:
        self.grounds = grounds
        self.environment = environment
        create_credentials(grounds.keys)
        self.public_key = grounds.folder / "artifacts.pem"
        self.public_key.write_bytes(load_bundle_keys(grounds.keys).public_pem)
        self.news = threading.Event()
        self.sends_artifacts = threading.Event()
        """Cleared, artifacts begin and do not get on."""
        self.sends_artifacts.set()
        self.paths: list[str] = []
        """Requests, in order."""
        self._open()
        self.start()

    def _open(self) -> None:
        grounds, routes = self.grounds, self.grounds.routes
        self.driver = MenderDriver(grounds.twins, grounds.depot, lambda: routes, grounds.now)
        self.service = MenderService(
            self.environment,
            grounds.twins,
            grounds.identities,
            lambda: routes,
            grounds.depot,
            grounds.keys,
            grounds.now,
            self.news.set,
        )

    def _app(self) -> ASGIApp:
        router = mender_router(lambda name: self.service if name == self.environment else None)
        app = create_app(HookSettings(), Debouncer(), ProcessHealth(role="active"), routers=[router])
        app.add_middleware(_Gate, site=self)
        return app

    def accept(self, device: str) -> None:
        """Believe the keys that wait for a device."""
        for identity in self.grounds.identities.identities(system=SYSTEM, device=device, status=IdentityStatus.PENDING):
            self.grounds.identities.decide(SYSTEM, identity.key, IdentityStatus.ACCEPTED, self.grounds.now())


class _Gate:
    """Holds artifacts back after their headers."""

    def __init__(self, app: ASGIApp, site: MenderSite) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def held(message: Message) -> None:
            if message["type"] == "http.response.body" and scope["path"].endswith("/artifact"):
                await asyncio.to_thread(self._site.sends_artifacts.wait, 60)
            await send(message)

        if scope["type"] == "http":
            self._site.paths.append(scope["path"])
        await self._app(scope, receive, held)
