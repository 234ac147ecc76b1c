"""Routes: the update system that reaches each device, as fleets declare it. Called by ``wiring`` and ``services``."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edgewright.core.fleet.membership import declared, members
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.fleet import Device, Fleet

Labels = Mapping[str, str]


class Proof(StrEnum):
    """The most that can be shown of a model on a device."""

    VERIFIED = "verified"
    """It is active, and its golden samples passed there."""
    INSTALLED = "installed"
    """It is in place, as the device's update system says."""


@dataclass(frozen=True, slots=True)
class Capability:
    """Capabilities of a device's update system."""

    proof: Proof = Proof.VERIFIED
    cancels: bool = True
    """True if an update that has begun can be cancelled before it is installed."""
    removes: bool = True
    """Whether a model can be taken off a device again."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way to one device."""

    fleet: str
    delivery: Delivery
    device: Device
    """As the inventory has it; of an enrolled device, its id and labels."""

    @property
    def proof(self) -> Proof:
        """The most the device is asked to show."""
        return Proof(self.delivery.proves)


def delivery_of(fleet: Fleet, labels: Labels) -> Delivery:
    """Return the delivery of a fleet that matches a device's labels."""
    fitting = (each.delivery for each in fleet.spec.overrides if each.select.matches(dict(labels)))
    return next(fitting, fleet.spec.delivery)


def find_routes(desired: Snapshot, enrolled: Mapping[str, Labels]) -> dict[str, Route]:
    """Find the way to every device of every fleet.

    A device in several fleets that differ goes the way of the first by name, of those that the repository alone puts it
    into before those that its own labels do; ``conflicts_of_routes`` says so.
    """
    found: dict[str, Route] = {}
    fleets = _fleets(desired)
    home = {id_: fleet.metadata.name for fleet in reversed(fleets) for id_ in members(desired, fleet, {})}
    for fleet in fleets:
        listed = {device.id: device for device in declared(desired, fleet)}
        for id_, labels in members(desired, fleet, enrolled).items():
            if id_ not in found or home.get(id_) == fleet.metadata.name:
                device = listed.get(id_)
                if device is None:
                    device = Device(id=id_, labels=dict(labels))
                elif device.labels != labels:
                    device = device.model_copy(update={"labels": dict(labels)})
                found[id_] = Route(fleet.metadata.name, delivery_of(fleet, labels), device)
    return found


def conflicts_of_routes(desired: Snapshot, enrolled: Mapping[str, Labels]) -> dict[str, tuple[str, str]]:
    """Find devices that two fleets reach in different ways: the fleets' names, by device."""
    fleets = _fleets(desired)
    if all(not fleet.spec.overrides and fleet.spec.delivery == fleets[0].spec.delivery for fleet in fleets):
        return {}
    ways: dict[str, tuple[str, Delivery]] = {}
    found: dict[str, tuple[str, str]] = {}
    for fleet in fleets:
        for id_, labels in members(desired, fleet, enrolled).items():
            name, way = ways.setdefault(id_, (fleet.metadata.name, delivery_of(fleet, labels)))
            if way != delivery_of(fleet, labels):
                found.setdefault(id_, (name, fleet.metadata.name))
    return found


def _fleets(desired: Snapshot) -> list[Fleet]:
    documents = [desired.resources[address].document for address in sorted(desired.resources)]
    return [document for document in documents if isinstance(document, Fleet)]
