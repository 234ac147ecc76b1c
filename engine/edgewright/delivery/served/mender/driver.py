"""The delivery port for devices with Mender's client: they come by themselves, to ``desk``. Wired by ``cli``."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.served.mender.artifacts import refuse_names
from edgewright.delivery.twin_driver import Routes, TwinDriver
from edgewright.ports import TwinStore
from edgewright_wire.messages import Assignment

SYSTEM = "mender"


class MenderDriver(TwinDriver):
    """Implements ports.Driver for devices with Mender's client."""

    def __init__(self, store: TwinStore, depot: Depot, routes: Routes, clock: Callable[[], datetime]) -> None:
        super().__init__(SYSTEM, store, depot, routes, clock)

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Note what devices are assigned.

        Raises:
            DeliveryError: As in TwinDriver; or clients would refuse the name of a configuration.
            DeliveryUnavailable, StorageFull, StateUnavailable: As in TwinDriver.
        """
        refuse_names({model.config.path for each in assignments for model in each.models if model.config is not None})
        super().assign(assignments, configs)
