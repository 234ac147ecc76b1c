"""A rig without any protocol: devices in memory that call the twins' functions as a driver would. What other rigs do
over the wire is done here by hand, so this one holds ``core.twins`` and ``TwinDriver`` alone to the contract.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.twin_driver import TwinDriver
from edgewright.ports import Driver
from edgewright_schemas.delivery import Delivery
from edgewright_wire.messages import ModelAssignment
from rigs.base import Behaviour, Grounded, Grounds, Rig


@dataclass
class MemoryDevice:
    behaviour: Behaviour = Behaviour.HONEST
    active: ModelAssignment | None = None
    installs: int = 0
    done: set[int] = field(default_factory=set)


class TwinsRig(Grounded):
    system = "ssh"

    def __init__(self, grounds: Grounds) -> None:
        self.grounds = grounds
        self.devices: dict[str, MemoryDevice] = {}
        self._open()

    def _open(self) -> None:
        self._driver = self.open_driver()

    def open_driver(self) -> Driver:
        """Make the driver on the grounds as they are open now."""
        routes = self.grounds.routes
        return TwinDriver(self.system, self.grounds.twins, self.grounds.depot, lambda: routes, self.grounds.now)

    @property
    def driver(self) -> Driver:
        return self._driver

    def add(self, *devices: str) -> None:
        self.grounds.declare(*devices)
        self.devices |= {device: MemoryDevice() for device in devices}

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self.devices[device].behaviour = behaviour

    def restart(self) -> None:
        self.grounds.close()
        self.grounds.open()
        self._open()

    def runs(self, device: str) -> str | None:
        active = self.devices[device].active
        return active.release if active else None

    def file(self, device: str, name: str) -> bytes | None:
        active = self.devices[device].active
        return self.configs()[active.config.digest] if active and active.config else None

    def installs(self, device: str) -> int:
        return self.devices[device].installs

    def step(self) -> bool:
        return sum(self._step(name, device) for name, device in self.devices.items()) > 0

    def _step(self, name: str, device: MemoryDevice) -> bool:
        if device.behaviour is Behaviour.SILENT:
            return False
        before = self.grounds.twins.twin(name)
        after = self.grounds.twins.change(name, self.system, lambda twin: self._work(twin, device))
        return before != after

    def _work(self, twin: Twin, device: MemoryDevice) -> Twin:  # noqa: PLR0911 - one answer for each stage
        now = self.grounds.now()
        twin = twins.seen(twin, now)
        job = twin.job
        if job is None:
            return twin
        match job.stage:
            case Stage.CANCELLING:
                return twins.stopped(twin, job.number, now)
            case Stage.WAITING:
                return twins.move(twin, job.number, Stage.OFFERED, now)
            case Stage.OFFERED:
                return twins.move(twin, job.number, Stage.FETCHING, now)
            case Stage.FETCHING if device.behaviour is Behaviour.STALLS:
                return twin
            case Stage.FETCHING if device.behaviour is Behaviour.CORRUPTS:
                return twins.fail(twin, job.number, now, "DigestMismatch", "other bytes")
            case Stage.FETCHING:
                return twins.move(twin, job.number, Stage.INSTALLING, now)
            case Stage.INSTALLING if device.behaviour is Behaviour.REFUSES:
                return twins.fail(twin, job.number, now, "InstallFailed", "no")
            case Stage.INSTALLING if device.behaviour is Behaviour.LIES:
                return twins.fail(twin, job.number, now, "NotProved", "it says so, and shows nothing")
            case _:
                if job.number not in device.done:
                    device.done.add(job.number)
                    device.active = job.target
                    device.installs += 1
                return twins.succeed(twin, job.number, now, Proof.VERIFIED)


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    grounds = Grounds(folder, Delivery.model_validate({"type": "ssh"}))
    try:
        yield TwinsRig(grounds)
    finally:
        grounds.close()
