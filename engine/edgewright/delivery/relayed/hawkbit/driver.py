"""The delivery port over customers' hawkBits. Opened by ``wiring``."""

from collections.abc import Callable
from datetime import datetime, timedelta

from edgewright.delivery.relayed.bundling import Bundler
from edgewright.delivery.relayed.driver import ServerDriver, secret_of
from edgewright.delivery.relayed.hawkbit.options import FORCE_AFTER, Kinds, Options
from edgewright.delivery.relayed.twin_writes import TwinWrites
from edgewright.delivery.relayed.worker import Pace, Sync
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.twin_driver import Routes
from edgewright.http.limits import Limits
from edgewright.ports import TwinStore
from edgewright.secret import Secret, named
from edgewright_schemas.delivery import Delivery, HawkbitSettings


class HawkbitDriver(ServerDriver):
    """Implements ports.Driver.

    Args:
        store: Keeps the twins.
        depot: The published repository.
        routes: The way to every device.
        clock: Gives aware UTC times.
        bundler: Builds the bundles to upload.
        secrets: Finds a secret by its name, or raises EdgewrightError.
        pace: Polling intervals.
        limits: Bounds on time and size.
        force_after: Time for a device to confirm a cancellation, before hawkBit is told to close the action.
    """

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
        force_after: timedelta = FORCE_AFTER,
    ) -> None:
        super().__init__("hawkbit", store, depot, routes, clock, secrets=secrets, pace=pace)
        self._bundler = bundler
        self._limits = limits
        self._force_after = force_after

    def server_of(self, delivery: Delivery) -> str:
        """As in ServerDriver; fleets with other types or target settings have another worker."""
        settings = _settings(delivery)
        made = f"{settings.module_type}/{settings.set_type}{'' if settings.create_targets else ', no targets'}"
        usual = "" if made == "application/app" else f" ({made})"
        return f"hawkBit at {settings.url.rstrip('/')} as {settings.user}{usual}"

    def connect(self, delivery: Delivery, writes: TwinWrites) -> Sync:
        """As in ServerDriver."""
        from edgewright.delivery.relayed.hawkbit.api import Hawkbit
        from edgewright.delivery.relayed.hawkbit.sync import HawkbitSync

        settings = _settings(delivery)
        password = secret_of(self.secrets, settings.password)
        hawkbit = Hawkbit(settings.url, settings.user, password, self._limits)
        kinds = Kinds(settings.module_type, settings.set_type)
        return HawkbitSync(
            hawkbit, writes, self._bundler, self.clock, Options(settings.create_targets, kinds, self._force_after)
        )


def _settings(delivery: Delivery) -> HawkbitSettings:
    assert delivery.hawkbit is not None  # the schema asks for it
    return delivery.hawkbit
