"""Wires the drivers of update systems other than our agent; each is imported only where a fleet or a device uses it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.core.snapshot import Snapshot
from edgewright.delivery.repository.depot import Depot
from edgewright.errors import StateError
from edgewright.wiring.routes import RouteTable
from edgewright_schemas.delivery import System
from edgewright_schemas.fleet import Fleet

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.ports import Driver, SnapshotSource, TwinStore
    from edgewright.wiring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Fittings:
    """What drivers are made from."""

    twins: "TwinStore"
    depot: Depot
    routes: RouteTable
    clock: Callable[[], datetime]
    cache: Path
    """Folder for bundles."""
    keys: Path
    read: Callable[[str], bytes]
    """Reads a file of the repository, as it is in force."""


def open_drivers(
    workspace: "Workspace", desired: Snapshot, routes: RouteTable, source: "SnapshotSource | None" = None
) -> Mapping[str, "Driver"]:
    """Make the drivers that these specs, or devices that were reached before, need.

    Args:
        workspace: The environment's.
        desired: What is in force.
        routes: The way to every device.
        source: Where that changes, for a run that goes on.
    """
    from edgewright.state.twins import SqlTwins

    twins = SqlTwins(workspace.state)
    systems = sorted({*systems_of(desired), *twins.systems()} - {"agent"})
    if not systems:
        return {}

    def read(path: str) -> bytes:
        if source is not None:
            return source.read(source.revision(), path)
        return workspace.source.read(desired.revision, path)

    fittings = Fittings(
        twins=twins,
        depot=Depot(workspace.delivery_folder(desired)),
        routes=routes,
        clock=workspace.clock,
        cache=workspace.bundles,
        keys=workspace.keys,
        read=read,
    )
    return {system: _driver(system, fittings) for system in systems}


def systems_of(desired: Snapshot) -> frozenset[System]:
    """List the update systems that fleets name."""
    fleets = [r.document for r in desired.resources.values() if isinstance(r.document, Fleet)]
    ways = [way for fleet in fleets for way in (fleet.spec.delivery, *(o.delivery for o in fleet.spec.overrides))]
    return frozenset(way.type for way in ways)


def _driver(system: str, its: Fittings) -> "Driver":
    match system:
        case "ddi":
            from edgewright.delivery.served.ddi.driver import DdiDriver

            return DdiDriver(its.twins, its.depot, its.routes, its.clock, cache=its.cache, keys=its.keys, read=its.read)
        case "mender":
            from edgewright.delivery.served.mender.driver import MenderDriver

            return MenderDriver(its.twins, its.depot, its.routes, its.clock)
        case "ssh":
            from edgewright.delivery.pushed.ssh.driver import SshDriver

            return SshDriver(its.twins, its.depot, its.routes, its.clock, its.keys, its.read)
        case "hawkbit":
            from edgewright.delivery.bundles.maker import BundleMaker
            from edgewright.delivery.relayed.hawkbit.driver import HawkbitDriver
            from edgewright.wiring.bundlers import SoftwareBundler

            maker = BundleMaker(its.cache, its.keys, its.depot, its.read)
            return HawkbitDriver(
                its.twins, its.depot, its.routes, its.clock, SoftwareBundler(maker, its.keys, its.read)
            )
        case "mender-server":
            from edgewright.delivery.relayed.mender.driver import MenderServerDriver
            from edgewright.wiring.bundlers import ArtifactBundler

            artifacts = ArtifactBundler(its.cache, its.keys, its.depot)
            return MenderServerDriver(its.twins, its.depot, its.routes, its.clock, artifacts)
        case _:
            raise StateError(
                f"the state store has devices that are reached by {system!r}, which this edgewright does not know",
                hint="upgrade edgewright",
            )
