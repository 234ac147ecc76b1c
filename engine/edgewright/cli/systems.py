"""Wires the drivers of update systems other than our agent; each is imported only where a fleet or a device uses it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgewright.cli.route_books import RouteBook
from edgewright.core.snapshot import Snapshot
from edgewright.delivery.depot import Depot
from edgewright_schemas.delivery import System
from edgewright_schemas.fleet import Fleet

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.cli.workspace import Workspace
    from edgewright.ports import Driver, SnapshotSource, TwinStore


def open_drivers(
    workspace: "Workspace", desired: Snapshot, routes: RouteBook, source: "SnapshotSource | None" = None
) -> Mapping[str, "Driver"]:
    """Make the drivers that these specs, or devices that were reached before, need.

    Args:
        workspace: The environment's.
        desired: What is in force.
        routes: The way to every device.
        source: Reads files of the repository that fleets name.
    """
    from edgewright.state.twins import SqlTwins

    twins = SqlTwins(workspace.state)
    systems = sorted({*systems_of(desired), *twins.systems()} - {"agent"})
    if not systems:
        return {}
    depot = Depot(workspace.delivery_folder(desired))
    return {system: _driver(system, workspace, desired, routes, twins, depot, source) for system in systems}


def systems_of(desired: Snapshot) -> frozenset[System]:
    """List the update systems that fleets name."""
    fleets = [r.document for r in desired.resources.values() if isinstance(r.document, Fleet)]
    ways = [way for fleet in fleets for way in (fleet.spec.delivery, *(o.delivery for o in fleet.spec.overrides))]
    return frozenset(way.type for way in ways)


def _driver(
    system: str,
    workspace: "Workspace",
    desired: Snapshot,
    routes: RouteBook,
    twins: "TwinStore",
    depot: Depot,
    source: "SnapshotSource | None",
) -> "Driver":
    from edgewright.delivery.twins import TwinDriver

    return TwinDriver(system, twins, depot, routes, workspace.clock)
