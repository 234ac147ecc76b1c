"""edgewright as Mender's server: a desk and a driver on a rig's grounds, over real HTTP. It can end and start again at
the same address.
"""

import asyncio
import threading

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgewright.delivery.credentials import create_credentials, load_bundle_keys
from edgewright.delivery.mender.desk import MenderDesk
from edgewright.delivery.mender.driver import SYSTEM, MenderDriver
from edgewright.ports import Standing
from edgewright.server.app import HookSettings, create_app
from edgewright.server.health import Vitals
from edgewright.server.mender_routes import mender_router
from edgewright.server.serving import Serving
from edgewright.server.waking import Bell
from fakes.rigs import Grounds


class MenderSite:
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
        """What was asked for, in order."""
        self._port = 0
        self._open()
        self.start()

    def _open(self) -> None:
        grounds, routes = self.grounds, self.grounds.routes
        self.driver = MenderDriver(grounds.twins, grounds.depot, lambda: routes, grounds.now)
        self.desk = MenderDesk(
            self.environment,
            grounds.twins,
            grounds.identities,
            lambda: routes,
            grounds.depot,
            grounds.keys,
            grounds.now,
            self.news.set,
        )

    def start(self) -> None:
        """Listen, where it listened before."""
        router = mender_router(lambda name: self.desk if name == self.environment else None)
        app = create_app(HookSettings(), Bell(), Vitals(role="active"), routers=[router])
        app.add_middleware(_Gate, site=self)
        self._serving = Serving(app, port=self._port, stop_seconds=1)
        self._port = self._serving.start().port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def accept(self, device: str) -> None:
        """Believe the keys that wait for a device."""
        for identity in self.grounds.identities.identities(system=SYSTEM, device=device, standing=Standing.PENDING):
            self.grounds.identities.decide(SYSTEM, identity.key, Standing.ACCEPTED, self.grounds.now())

    def stop(self) -> None:
        """End it; artifacts that are held back are cut off."""
        self._serving.stop()

    def renew(self) -> None:
        """Put another engine behind the same server, on what the one before has left."""
        self.grounds.close()
        self.grounds.open()
        self._open()

    def restart(self) -> None:
        """End this controller, and start another on what it has left."""
        self.stop()
        self.renew()
        self.start()


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
