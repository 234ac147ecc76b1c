"""The delivery port over customers' Mender servers. Opened by ``wiring``."""

from collections.abc import Callable
from datetime import datetime

from edgewright.delivery.relayed.bundling import Bundler
from edgewright.delivery.relayed.driver import ServerDriver, secret_of
from edgewright.delivery.relayed.mender.options import Options
from edgewright.delivery.relayed.twin_writes import TwinWrites
from edgewright.delivery.relayed.worker import Pace, Sync
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.twin_driver import Routes
from edgewright.http.limits import Limits
from edgewright.ports import TwinStore
from edgewright.secret import Secret, named
from edgewright_schemas.delivery import Delivery, MenderServerSettings


class MenderServerDriver(ServerDriver):
    """Implements ports.Driver. Arguments as of HawkbitDriver."""

    def __init__(
        self,
        store: TwinStore,
        depot: Depot,
        routes: Routes,
        clock: Callable[[], datetime],
        bundler: Bundler,
        *,
        secrets: Callable[[str], Secret] = named,
        pace: Pace | None = None,
        limits: Limits | None = None,
        options: Options | None = None,
    ) -> None:
        super().__init__("mender-server", store, depot, routes, clock, secrets=secrets, pace=pace)
        self._bundler = bundler
        self._limits = limits
        self._options = options or Options()

    def server_of(self, delivery: Delivery) -> str:
        """As in ServerDriver; fleets that find devices by another attribute have another worker."""
        settings = _settings(delivery)
        return f"Mender at {settings.url.rstrip('/')} with {settings.token.secret}, by {settings.attribute}"

    def connect(self, delivery: Delivery, writes: TwinWrites) -> Sync:
        """As in ServerDriver."""
        from edgewright.delivery.relayed.mender.api import Mender
        from edgewright.delivery.relayed.mender.sync import MenderSync

        settings = _settings(delivery)
        mender = Mender(settings.url, secret_of(self.secrets, settings.token), self._limits)
        return MenderSync(mender, writes, self._bundler, settings.attribute, self.clock, self._options)


def _settings(delivery: Delivery) -> MenderServerSettings:
    assert delivery.mender_server is not None  # the schema asks for it
    return delivery.mender_server
