"""Driver for devices that poll hawkBit's device API. Made by ``wiring.registry``."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from edgewright.delivery.bundles.maker import BundleMaker
from edgewright.delivery.bundles.orders import BundleOrder, ReadFile
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.served.ddi.authentication import SYSTEM
from edgewright.delivery.served.ddi.service import offered_bundles
from edgewright.delivery.twin_driver import Routes, TwinDriver
from edgewright.ports import TwinStore
from edgewright_wire.messages import Assignment


class DdiDriver(TwinDriver):
    """Implements ports.Driver; ``service`` answers the devices.

    Args:
        store: Keeps the twins.
        depot: The published packages and configurations.
        routes: Gives the route to every device.
        clock: Gives aware UTC times.
        cache: Folder for built bundles.
        keys: Folder of the keys.
        read: Reads files of the repository that fleets name.
    """

    def __init__(
        self,
        store: TwinStore,
        depot: Depot,
        routes: Routes,
        clock: Callable[[], datetime],
        *,
        cache: Path,
        keys: Path,
        read: ReadFile,
    ) -> None:
        super().__init__(SYSTEM, store, depot, routes, clock)
        self._maker = BundleMaker(cache, keys, depot, read, lambda: offered_bundles(store))

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Build the bundles, so that their errors show now, and store the assignments.

        Raises:
            DeliveryError: As in TwinDriver.assign; or a bundle cannot be built: a key or a program is missing, or a
                fleet's template is wrong.
            DeliveryUnavailable, StorageFull, StateUnavailable: As there.
        """
        self.depot.keep(configs)
        routes = self.routes()
        made: set[tuple[bytes, bytes]] = set()
        for assignment in assignments:
            route = routes.get(assignment.device)
            for model in assignment.models if route is not None else ():
                assert route is not None
                which = model.to_bytes(), route.delivery.model_dump_json().encode()
                if which not in made:
                    self._maker.make(BundleOrder(model.model, model, route.delivery))
                    made.add(which)
        super().assign(assignments, configs)
