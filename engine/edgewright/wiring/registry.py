"""The registry of update systems: one entry each, and the only place in the engine that lists them.

Another update system is a folder below ``delivery/`` and touches two files outside it: its settings in
``edgewright_schemas.delivery``, and an entry here. Each driver is imported where its entry is used.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.core.fleet.routes import Route
from edgewright.delivery.repository.depot import Depot

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from fastapi import APIRouter

    from edgewright.ports import Driver, TwinStore
    from edgewright.wiring.device_services import EnvironmentContext, EnvironmentServices


@dataclass(frozen=True, slots=True)
class DriverContext:
    """The parts that drivers are made from."""

    twins: "TwinStore"
    depot: Depot
    routes: Callable[[], Mapping[str, Route]]
    clock: Callable[[], datetime]
    cache: Path
    """Folder for bundles."""
    keys: Path
    read: Callable[[str], bytes]
    """Reads a file of the repository, at the accepted revision."""


@dataclass(frozen=True, slots=True)
class UpdateSystem:
    """An update system: how it is named in specs, and what is wired for it."""

    name: str
    """``delivery.type`` in specs, and the system of twins and keys in the state store."""
    make_driver: Callable[[DriverContext], "Driver"]
    device_api: "Callable[[EnvironmentServices, Callable[[], Collection[str]]], APIRouter] | None" = None
    """Makes the routes of the API that its devices call; the second argument returns the environments that are
    served. None where devices do not call edgewright."""
    has_keys: bool = False
    """Whether its devices have keys or tokens that operators accept, reject and retire."""


def _ddi_driver(context: DriverContext) -> "Driver":
    from edgewright.delivery.served.ddi.driver import DdiDriver

    return DdiDriver(
        context.twins,
        context.depot,
        context.routes,
        context.clock,
        cache=context.cache,
        keys=context.keys,
        read=context.read,
    )


def _ddi_api(services: "EnvironmentServices", served: Callable[[], Collection[str]]) -> "APIRouter":
    from edgewright.delivery.served.ddi.service import DdiService
    from edgewright.server.devices.ddi_routes import ddi_router
    from edgewright.wiring.device_services import DeviceServices

    def make(context: "EnvironmentContext") -> DdiService:
        return DdiService(
            environment=context.environment,
            twins=context.twins,
            identities=context.identities,
            routes=context.routes,
            depot=context.depot,
            cache=context.cache,
            keys=context.keys,
            clock=context.clock,
            wake=context.wake,
            url=context.url,
            read=context.read,
        )

    return ddi_router(DeviceServices(services, served, make).find)


def _mender_driver(context: DriverContext) -> "Driver":
    from edgewright.delivery.served.mender.driver import MenderDriver

    return MenderDriver(context.twins, context.depot, context.routes, context.clock)


def _mender_api(services: "EnvironmentServices", served: Callable[[], Collection[str]]) -> "APIRouter":
    from edgewright.delivery.served.mender.service import MenderService
    from edgewright.server.devices.mender_routes import mender_router
    from edgewright.wiring.device_services import DeviceServices

    def make(context: "EnvironmentContext") -> MenderService:
        return MenderService(
            environment=context.environment,
            twins=context.twins,
            identities=context.identities,
            routes=context.routes,
            depot=context.depot,
            keys=context.keys,
            clock=context.clock,
            wake=context.wake,
            url=context.url,
        )

    return mender_router(DeviceServices(services, served, make).find)


def _ssh_driver(context: DriverContext) -> "Driver":
    from edgewright.delivery.pushed.ssh.driver import SshDriver

    return SshDriver(context.twins, context.depot, context.routes, context.clock, context.keys, context.read)


def _hawkbit_driver(context: DriverContext) -> "Driver":
    from edgewright.delivery.bundles.maker import BundleMaker
    from edgewright.delivery.relayed.hawkbit.driver import HawkbitDriver
    from edgewright.wiring.bundlers import SoftwareBundler

    maker = BundleMaker(context.cache, context.keys, context.depot, context.read)
    bundler = SoftwareBundler(maker, context.keys, context.read)
    return HawkbitDriver(context.twins, context.depot, context.routes, context.clock, bundler)


def _mender_server_driver(context: DriverContext) -> "Driver":
    from edgewright.delivery.relayed.mender.driver import MenderServerDriver
    from edgewright.wiring.bundlers import ArtifactBundler

    bundler = ArtifactBundler(context.cache, context.keys, context.depot)
    return MenderServerDriver(context.twins, context.depot, context.routes, context.clock, bundler)


AGENT = "agent"
"""Our own agent: it is reached by the published repository itself, and needs no driver of twins."""

UPDATE_SYSTEMS: Mapping[str, UpdateSystem] = {
    system.name: system
    for system in (
        UpdateSystem("ssh", _ssh_driver),
        UpdateSystem("ddi", _ddi_driver, _ddi_api, has_keys=True),
        UpdateSystem("mender", _mender_driver, _mender_api, has_keys=True),
        UpdateSystem("hawkbit", _hawkbit_driver),
        UpdateSystem("mender-server", _mender_server_driver),
    )
}


def systems_with_keys(registry: Mapping[str, UpdateSystem] = UPDATE_SYSTEMS) -> tuple[str, ...]:
    """Return the update systems whose devices have keys, our agent's first."""
    return (AGENT, *(name for name, system in registry.items() if system.has_keys))


def device_routers(
    services: "EnvironmentServices",
    served: Callable[[], Collection[str]],
    registry: Mapping[str, UpdateSystem] = UPDATE_SYSTEMS,
) -> list["APIRouter"]:
    """Make the routes of every device API.

    Args:
        services: Finds what an environment's services are made from.
        served: Returns the environments that this process serves now.
        registry: The update systems.
    """
    return [system.device_api(services, served) for system in registry.values() if system.device_api is not None]
