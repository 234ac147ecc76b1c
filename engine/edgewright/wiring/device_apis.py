"""Wires the device APIs that ``commands/serve`` offers beside webhooks: hawkBit's and Mender's.

A desk is made when the first device of its environment asks, and anew when another revision is in force.
"""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Generic, TypeVar

from edgewright.wiring.device_services import EnvironmentContext, EnvironmentServices

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from fastapi import APIRouter

    from edgewright.delivery.served.ddi.service import DdiService
    from edgewright.delivery.served.mender.service import MenderService

D = TypeVar("D")


class DeviceServices(Generic[D]):
    """The desks of one update system, one for each environment. Safe to use from several threads.

    Args:
        room: Finds the surroundings of environments.
        served: The environments that this process serves now.
        make: Makes a desk.
    """

    def __init__(
        self, room: EnvironmentServices, served: Callable[[], Collection[str]], make: Callable[[EnvironmentContext], D]
    ) -> None:
        self._room = room
        self._served = served
        self._make = make
        self._made: dict[str, tuple[EnvironmentContext, D]] = {}

    def find(self, environment: str) -> D | None:
        """Find an environment's desk; devices that name none belong to the only one there is.

        Raises:
            EdgewrightError: The store, the repository or a key cannot be read.
        """
        served = self._served()
        if not environment and len(served) == 1:
            environment = next(iter(served))
        around = self._room.find(environment, environment in served)
        if around is None:
            return None
        known = self._made.get(environment)
        if known is None or known[0] is not around:
            known = self._made[environment] = (around, self._make(around))
        return known[1]


def device_routers(room: EnvironmentServices, served: Callable[[], Collection[str]]) -> list["APIRouter"]:
    """Make the routers."""
    from edgewright.server.devices.ddi_routes import ddi_router
    from edgewright.server.devices.mender_routes import mender_router

    return [
        ddi_router(DeviceServices(room, served, _ddi_desk).find),
        mender_router(DeviceServices(room, served, _mender_desk).find),
    ]


def _ddi_desk(around: EnvironmentContext) -> "DdiService":
    from edgewright.delivery.served.ddi.service import DdiService

    return DdiService(
        environment=around.environment,
        twins=around.twins,
        identities=around.identities,
        routes=around.routes,
        depot=around.depot,
        cache=around.cache,
        keys=around.keys,
        clock=around.clock,
        wake=around.wake,
        url=around.url,
        read=around.read,
    )


def _mender_desk(around: EnvironmentContext) -> "MenderService":
    from edgewright.delivery.served.mender.service import MenderService

    return MenderService(
        environment=around.environment,
        twins=around.twins,
        identities=around.identities,
        routes=around.routes,
        depot=around.depot,
        keys=around.keys,
        clock=around.clock,
        wake=around.wake,
        url=around.url,
    )
