"""What rigs share whose devices ask a customer's own server, which the driver uses through its management API."""

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from devices.with_installer import InstallingDevice, TarBundler
from edgewright.delivery.relayed.driver import ServerDriver
from edgewright.delivery.relayed.worker import Pace
from edgewright.http.limits import Limits
from edgewright.ports import Driver
from edgewright.secret import Secret
from edgewright_wire.messages import ModelReport
from rigs.base import Behaviour, Grounded, Grounds, Rig, assignments


class ServedDevice(Protocol):
    """A device of a server."""

    behaviour: Behaviour
    disk: InstallingDevice

    def step(self) -> bool: ...


D = TypeVar("D", bound=ServedDevice)
E = TypeVar("E", bound=ServerDriver)


class ServerRig(Grounded, ABC, Generic[E, D]):
    """Args: where everything is, what the driver has for a password, and how its bundles' names end."""

    pace: Pace | None = None
    limits: Limits | None = None

    def __init__(self, grounds: Grounds, password: str, ending: str) -> None:
        self.grounds = grounds
        self.password = password
        self.ahead = timedelta()
        """How far the driver's clock is ahead."""
        self.devices: dict[str, D] = {}
        self.bundler = TarBundler(grounds.depot, grounds.folder / "bundles", ending)
        self.pushing = self.open()

    @abstractmethod
    def open(self) -> E:
        """Open a driver on the grounds."""

    @abstractmethod
    def set_up(self, id_: str) -> D:
        """Make a device that asks the server."""

    def secret(self, name: str) -> Secret:
        return Secret(self.password)

    def now(self) -> datetime:
        return self.grounds.now() + self.ahead

    @property
    def driver(self) -> Driver:
        return self.pushing

    def add(self, *devices: str) -> None:
        self.grounds.declare(*devices)
        for id_ in devices:
            self.devices[id_] = self.set_up(id_)

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self.devices[device].behaviour = behaviour

    def step(self) -> bool:
        return self.pushing.step() + sum(device.step() for device in self.devices.values()) > 0

    def restart(self) -> None:
        self.pushing.close()
        self.grounds.close()
        self.grounds.open()
        self.pushing = self.open()

    def reason(self, device: str = "lane-1") -> str:
        """What is wrong with a device."""
        twin = self.grounds.twins.twin(device)
        assert twin is not None
        return twin.reason

    def runs(self, device: str) -> str | None:
        return self.devices[device].disk.runs()

    def file(self, device: str, name: str) -> bytes | None:
        return self.devices[device].disk.file(name)

    def installs(self, device: str) -> int:
        return self.devices[device].disk.switches

    def close(self) -> None:
        self.pushing.close()
        self.grounds.close()


def model_of(rig: Rig, device: str = "lane-1") -> ModelReport:
    """What is said of a device's model."""
    report = next(report for report in rig.driver.observe({}) if report.device == device)
    model = report.model("reader")
    assert model is not None
    return model


def assign(rig: Rig, version: int, release: int, *devices: str) -> str:
    """Assign a release; returns its name."""
    wanted = rig.release(release)
    rig.driver.assign(assignments(version, devices or ["lane-1"], wanted), rig.configs())
    return wanted.release
