"""A rig whose devices ask a hawkBit, which the driver uses through its management API."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from edgewright.delivery.hawkbit import HawkbitDriver
from edgewright.delivery.hawkbit.options import FORCE_AFTER
from edgewright.delivery.servers.failures import Patience
from edgewright.delivery.servers.worker import Pace
from edgewright.ports import Driver
from edgewright.secret import Secret
from edgewright_schemas.delivery import Delivery
from edgewright_wire.messages import ModelAssignment
from fakes.hawkbit_ddi import HawkbitDevice
from fakes.hawkbit_server import PASSWORD, USER, HawkbitServer
from fakes.installing_devices import TarBundler
from fakes.rigs import Behaviour, Grounds, Rig


def hawkbit_delivery(url: str, settings: Mapping[str, object] = MappingProxyType({}), **fields: object) -> Delivery:
    settings = {"url": url, "user": USER, "password": {"secret": "hawkbit"}, **settings}
    return Delivery.model_validate({"type": "hawkbit", "hawkbit": settings, **fields})


class HawkbitRig:
    force_after = FORCE_AFTER
    pace: Pace | None = None
    patience: Patience | None = None
    password = PASSWORD

    def __init__(self, grounds: Grounds, server: HawkbitServer) -> None:
        self.grounds = grounds
        self.server = server
        self.ahead = timedelta()
        """How far the driver's clock is ahead."""
        self.devices: dict[str, HawkbitDevice] = {}
        self.bundler = TarBundler(grounds.depot, grounds.folder / "bundles", ".swu")
        self._open()

    def _open(self) -> None:
        self.hawkbit = HawkbitDriver(
            self.grounds.twins,
            self.grounds.depot,
            lambda: self.grounds.routes,
            self.now,
            self.bundler,
            secrets=self.secret,
            pace=self.pace,
            patience=self.patience,
            force_after=self.force_after,
        )

    def secret(self, name: str) -> Secret:
        return Secret(self.password)

    def server_password(self, new: str) -> None:
        """Change it at the server alone."""
        self.server.password = new

    def now(self) -> datetime:
        return self.grounds.now() + self.ahead

    @property
    def driver(self) -> Driver:
        return self.hawkbit

    def add(self, *devices: str) -> None:
        self.grounds.declare(*devices)
        for id_ in devices:
            self.devices[id_] = HawkbitDevice(self.server, id_, self.grounds.folder / "devices" / id_)

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self.devices[device].behaviour = behaviour

    def step(self) -> bool:
        return self.hawkbit.step() + sum(device.step() for device in self.devices.values()) > 0

    def restart(self) -> None:
        self.hawkbit.close()
        self.grounds.close()
        self.grounds.open()
        self._open()

    def release(self, version: int, *, config: bytes | None = None) -> ModelAssignment:
        return self.grounds.release(version, config=config)

    def configs(self) -> Mapping[str, bytes]:
        return self.grounds.configs()

    def runs(self, device: str) -> str | None:
        return self.devices[device].disk.runs()

    def file(self, device: str, name: str) -> bytes | None:
        return self.devices[device].disk.file(name)

    def installs(self, device: str) -> int:
        return self.devices[device].disk.switches

    def close(self) -> None:
        self.hawkbit.close()
        self.grounds.close()


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    with HawkbitServer() as server:
        rig = HawkbitRig(Grounds(folder, hawkbit_delivery(server.url)), server)
        try:
            yield rig
        finally:
            rig.close()
