"""Driver for devices with Mender's client, which poll ``service``. Made by ``wiring.registry``."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.served.mender.artifacts import check_file_names
from edgewright.delivery.twin_driver import Routes, TwinDriver
from edgewright.ports import TwinStore
from edgewright_wire.messages import Assignment

SYSTEM = "mender"


class MenderDriver(TwinDriver):
    """Implements ports.Driver for devices with Mender's client."""

    def __init__(self, store: TwinStore, depot: Depot, routes: Routes, clock: Callable[[], datetime]) -> None:
        super().__init__(SYSTEM, store, depot, routes, clock)

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Store the assignments.

        Raises:
            DeliveryError: As in TwinDriver; or clients would refuse the name of a configuration.
            DeliveryUnavailable, StorageFull, StateUnavailable: As in TwinDriver.
        """
        check_file_names(
            {model.config.path for each in assignments for model in each.models if model.config is not None}
        )
        super().assign(assignments, configs)
