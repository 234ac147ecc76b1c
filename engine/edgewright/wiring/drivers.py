"""Makes the drivers of update systems that specs or known devices need. Called by ``workspace``."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgewright.core.snapshot import Snapshot
from edgewright.errors import StateError
from edgewright.wiring.registry import AGENT, UPDATE_SYSTEMS, DriverContext, UpdateSystem
from edgewright_schemas.fleet import Fleet

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.ports import Driver


def open_drivers(
    systems: Iterable[str], context: DriverContext, registry: Mapping[str, UpdateSystem] = UPDATE_SYSTEMS
) -> Mapping[str, "Driver"]:
    """Make the drivers of update systems, in name order.

    Args:
        systems: Their names; our agent, which needs no driver, is left out.
        context: What drivers are made from.
        registry: The update systems there are.

    Raises:
        StateError: The registry does not have one.
    """
    return {name: _find(name, registry).make_driver(context) for name in sorted({*systems} - {AGENT})}


def systems_of(desired: Snapshot) -> frozenset[str]:
    """Return the update systems that fleets name."""
    fleets = [r.document for r in desired.resources.values() if isinstance(r.document, Fleet)]
    deliveries = [
        each for fleet in fleets for each in (fleet.spec.delivery, *(o.delivery for o in fleet.spec.overrides))
    ]
    return frozenset(delivery.type for delivery in deliveries)


def _find(name: str, registry: Mapping[str, UpdateSystem]) -> UpdateSystem:
    if name not in registry:
        raise StateError(
            f"the state store has devices that are reached by {name!r}, which this edgewright does not know",
            hint="upgrade edgewright",
        )
    return registry[name]
