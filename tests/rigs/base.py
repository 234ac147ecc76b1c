"""A delivery driver with devices at its other end: what ``contract/delivery/test_driver_conformance.py`` asks for.

Each driver's rig (``rigs.<system>``) has devices that speak its protocol to the real driver. Releases are real
packages (``samples.agent_packages``), published in a real repository folder; a device that can prove runs them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from edgewright.core.fleet.routes import Route
from edgewright.delivery.agent.driver import AgentDelivery
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.repository.keys import create_keys
from edgewright.ports import Driver, PackageContent
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlIdentities, SqlInbox, SqlTwins
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.fleet import Device
from edgewright_wire.messages import Assignment, ModelAssignment
from samples.agent_packages import PackageFiles, a_package, target


class Behaviour(StrEnum):
    """Behaviour of a device from now on."""

    HONEST = "honest"
    REFUSES = "refuses"
    """It fetches whole, and its installer fails: full disk, wrong hardware, golden samples that do not pass."""
    CORRUPTS = "corrupts"
    """Files that it fetches arrive with other bytes."""
    LIES = "lies"
    """It says that all went well, and has changed nothing."""
    SILENT = "silent"
    """It never answers: switched off, or out of reach."""
    STALLS = "stalls"
    """It begins to fetch, and does not get on until it is honest again."""


class Rig(Protocol):
    """One driver, its devices, and the engine's process that can end at any time."""

    @property
    def driver(self) -> Driver:
        """The driver of the engine that runs now."""
        ...

    def add(self, *devices: str) -> None:
        """Set devices up, accepted and honest, and declare them in a fleet."""
        ...

    def behave(self, device: str, behaviour: Behaviour) -> None:
        """Change how a device behaves."""
        ...

    def step(self) -> bool:
        """Make the driver and each device do their next step; False when none had anything to do."""
        ...

    def restart(self) -> None:
        """End the engine as kill -9 would, and start another on what it left."""
        ...

    def release(self, version: int, *, config: bytes | None = None) -> ModelAssignment:
        """A release of the one model, published; another for each version."""
        ...

    def configs(self) -> Mapping[str, bytes]:
        """The configurations of the releases made, by digest."""
        ...

    def runs(self, device: str) -> str | None:
        """Look at the device itself: the release that is active."""
        ...

    def file(self, device: str, name: str) -> bytes | None:
        """Look at the device itself: a file beside the active model."""
        ...

    def installs(self, device: str) -> int:
        """Return how many times the device has changed its active release, ever."""
        ...


MakeRig = Callable[[Path], AbstractContextManager[Rig]]

MOST_STEPS = 400


def work(rig: Rig, steps: int = MOST_STEPS) -> None:
    """Step the rig until neither driver nor devices have anything to do.

    Raises:
        AssertionError: They never came to rest.
    """
    for _ in range(steps):
        if not rig.step():
            return
    raise AssertionError(f"not at rest after {steps} steps")


class Grounds:
    """The base of every rig: a published repository, a state store, routes. A rig restarts on the same grounds."""

    def __init__(self, folder: Path, delivery: Delivery) -> None:
        self.folder = folder
        self.delivery = delivery
        self.routes: dict[str, Route] = {}
        self.keys = folder / "keys"
        create_keys(self.keys)
        self.repository = AgentDelivery(folder / "repository", folder / "reports", self.keys)
        self.repository.create()
        self._configs: dict[str, bytes] = {}
        self._published: set[str] = set()
        self.open()

    def open(self) -> None:
        """Open the stores anew, as another process would."""
        self.state = SqlState(self.folder / "state.db")
        self.twins = SqlTwins(self.state)
        self.identities = SqlIdentities(self.state)
        self.inbox = SqlInbox(self.state)
        self.depot = Depot(self.folder / "repository")

    def close(self) -> None:
        """Close the stores."""
        self.state.close()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def declare(self, *devices: str, **fields: object) -> None:
        """Put devices into the fleet."""
        for id_ in devices:
            device = Device.model_validate({"id": id_, "labels": {"class": "lane"}, **fields})
            self.routes[id_] = Route("stores", self.delivery, device)

    def release(self, version: int, *, config: bytes | None = None) -> ModelAssignment:
        """Publish a real package, and say how it is assigned."""
        package = a_package(version, onnx=True)
        if package.digest not in self._published:
            refused = self.repository.publish([content_of(package, self.folder / "blobs")])
            assert refused == {}
            self._published.add(package.digest)
        wanted = target(package, config=config)
        if config is not None and wanted.config is not None:
            self._configs[wanted.config.digest] = config
        return wanted

    def configs(self) -> Mapping[str, bytes]:
        return dict(self._configs)


class Grounded:
    """Base class of rigs that stand on grounds of their own."""

    grounds: Grounds

    def release(self, version: int, *, config: bytes | None = None) -> ModelAssignment:
        return self.grounds.release(version, config=config)

    def configs(self) -> Mapping[str, bytes]:
        return self.grounds.configs()


def content_of(package: PackageFiles, folder: Path) -> PackageContent:
    """A package's bytes, as a publisher is given them."""
    folder.mkdir(parents=True, exist_ok=True)
    blobs = {}
    for digest, data in package.blobs.items():
        blobs[digest] = folder / digest.removeprefix("sha256:")
        blobs[digest].write_bytes(data)
    return PackageContent(package.manifest, package.digest, blobs)


def assignments(version: int, devices: Sequence[str], *targets: ModelAssignment) -> list[Assignment]:
    return [Assignment(device=device, version=version, models=targets) for device in devices]
