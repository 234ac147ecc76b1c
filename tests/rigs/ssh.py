"""Devices that are reached over SSH, with the installer on them: the real driver, one real sshd for each device."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devices.ssh import SshDevice, make_key
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.driver import SshDriver
from edgewright.delivery.pushed.ssh.schedule import scheduled_device
from edgewright.ports import Driver
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.fleet import Device
from rigs.base import Behaviour, Grounded, Grounds, Rig

STALLED_SECONDS = "3s"


class SshRig(Grounded):
    """Args:
    grounds: What every rig stands on.
    settings: Of ``delivery``.
    equip: Gives a device its programs.
    looks_again: Whether a device at rest is looked at once more: an oscillation would be seen.
    """

    def __init__(
        self,
        grounds: Grounds,
        settings: Mapping[str, object],
        equip: Callable[[SshDevice], None],
        looks_again: bool = True,
    ) -> None:
        self.grounds = grounds
        self.settings = settings
        self.equip = equip
        self.looks_again = looks_again
        self.devices: dict[str, SshDevice] = {}
        self.files: dict[str, bytes] = {}
        """Of the repository."""
        self.client = make_key(grounds.keys / "ssh/id_ed25519")
        self._settled: set[str] = set()
        self._open()

    def _open(self) -> None:
        self._driver = self.another()

    def another(self) -> SshDriver:
        """A driver of another process, on the same store."""
        grounds, routes = self.grounds, self.grounds.routes
        return SshDriver(
            grounds.twins, grounds.depot, lambda: routes, grounds.now, grounds.keys, self.files.__getitem__
        )

    @property
    def driver(self) -> Driver:
        return self._driver

    def add(self, *devices: str) -> None:
        for id_ in devices:
            self.add_device(SshDevice(id_, self.grounds.folder / id_, self.client.with_suffix(".pub")))

    def add_device(self, device: SshDevice) -> SshDevice:
        self.equip(device)
        device.start()
        self.devices[device.id] = device
        self.declare(device.id)
        return device

    def declare(self, id_: str, *, own: Mapping[str, object] | None = None, **ssh: object) -> None:
        """Declare a device, with more settings of ``delivery.ssh``, and more or less in the inventory."""
        device, settings = self.devices[id_], self.settings.get("ssh")
        merged = {**(settings if isinstance(settings, dict) else {}), **ssh}
        delivery = Delivery.model_validate(
            {"type": "ssh", **self.settings, "root": str(device.root), "ssh": merged or None}
        )
        listed = {"id": id_, "labels": {"class": "lane"}, "ssh": {**device.ssh, **(own or {})}}
        self.grounds.routes[id_] = Route("stores", delivery, Device.model_validate(listed))

    def run_session(self, id_: str) -> Twin:
        """Make one pass over a device."""
        self._driver.run_session(self.grounds.routes[id_], Deadline())
        twin = self.grounds.twins.twin(id_)
        assert twin is not None
        return twin

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self._settled.discard(device)
        at, was_on = self.devices[device], self.devices[device]._sshd is not None
        at.behave(behaviour)
        if behaviour is Behaviour.SILENT:
            at.stop()
        elif not was_on:
            at.start()
        if behaviour is Behaviour.STALLS:
            self.declare(device, timeout=STALLED_SECONDS)
        else:
            self.declare(device)

    def step(self) -> bool:
        """Go to whom the schedule would go to."""
        return sum(self._step(id_) for id_ in self.devices) > 0

    def _step(self, id_: str) -> bool:
        twins, route = self.grounds.twins, self.grounds.routes[id_]
        before = twins.twin(id_)
        if id_ in self._settled and not scheduled_device(route, before, self.grounds.now()).has_work:
            return False
        after = self._driver.run_session(route, Deadline()).twin
        if after == before or not self.looks_again:
            self._settled.add(id_)
        return after != before

    def restart(self) -> None:
        self._settled.clear()
        self.grounds.close()
        self.grounds.open()
        self._open()

    def runs(self, device: str) -> str | None:
        return self.devices[device].runs()

    def file(self, device: str, name: str) -> bytes | None:
        return self.devices[device].file(name)

    def installs(self, device: str) -> int:
        return self.devices[device].switches

    def close(self) -> None:
        for device in self.devices.values():
            device.stop()
        self.grounds.close()


@contextmanager
def open_rig(
    folder: Path, settings: Mapping[str, object], equip: Callable[[SshDevice], None], looks_again: bool = True
) -> Iterator[SshRig]:
    rig = SshRig(Grounds(folder, Delivery.model_validate({"type": "ssh"})), settings, equip, looks_again)
    try:
        yield rig
    finally:
        rig.close()


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    # Each look runs the installer, which takes its time to start.
    with open_rig(folder, {"proof": "verified"}, SshDevice.proving, looks_again=False) as rig:
        yield rig
