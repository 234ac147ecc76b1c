"""A rig of an update system that the engine does not have: settings and an entry of the registry are all it needs.

What an author of a driver writes stands here in one file: the section of specs, the driver, the entry.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from edgewright.delivery.twin_driver import TwinDriver
from edgewright.ports import Driver
from edgewright.wiring.drivers import open_drivers
from edgewright.wiring.registry import UPDATE_SYSTEMS, DriverContext, UpdateSystem
from edgewright_schemas.base import SpecModel
from edgewright_schemas.delivery import Delivery
from rigs.base import Grounds, Rig
from rigs.twins import TwinsRig

SYSTEM = "carrier"


class CarrierSettings(SpecModel):
    """Settings of the system in specs."""

    round: str


class CarrierDelivery(Delivery):
    """The section of a Fleet; in the engine it would be one more field and one more name in ``Delivery``."""

    type: Literal["carrier"] = "carrier"  # type: ignore[assignment]  # the name that Delivery does not list
    carrier: CarrierSettings


def make_driver(context: DriverContext) -> Driver:
    return TwinDriver(SYSTEM, context.twins, context.depot, context.routes, context.clock)


REGISTRY = {**UPDATE_SYSTEMS, SYSTEM: UpdateSystem(SYSTEM, make_driver)}


def context_of(grounds: Grounds) -> DriverContext:
    """What the wiring hands to drivers, on a rig's grounds."""
    return DriverContext(
        twins=grounds.twins,
        depot=grounds.depot,
        routes=lambda: grounds.routes,
        clock=grounds.now,
        cache=grounds.folder / "cache",
        keys=grounds.keys,
        read=lambda path: (grounds.folder / path).read_bytes(),
    )


class RegisteredRig(TwinsRig):
    """Devices in memory, behind a driver that only the registry knows."""

    system = SYSTEM

    def open_driver(self) -> Driver:
        return open_drivers(["agent", SYSTEM], context_of(self.grounds), REGISTRY)[SYSTEM]


def carrier_grounds(folder: Path) -> Grounds:
    return Grounds(folder, CarrierDelivery(carrier=CarrierSettings(round="nightly")))


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    grounds = carrier_grounds(folder)
    try:
        yield RegisteredRig(grounds)
    finally:
        grounds.close()
