"""A rig whose devices ask a Mender server, which the driver uses through its management API."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from edgewright.delivery.mender_server import MenderServerDriver
from edgewright.delivery.mender_server.options import Options
from edgewright.delivery.servers.failures import Patience
from edgewright.delivery.servers.worker import Pace
from edgewright.ports import Driver
from edgewright.secret import Secret
from edgewright_schemas.delivery import Delivery
from edgewright_wire.messages import ModelAssignment
from fakes.installing_devices import TarBundler
from fakes.mender_devices import MenderClient
from fakes.mender_server import TOKEN, MenderServer
from fakes.rigs import Behaviour, Grounds, Rig


def mender_delivery(url: str, **fields: object) -> Delivery:
    return Delivery.model_validate(
        {"type": "mender-server", "menderServer": {"url": url, "token": {"secret": "mender"}}, **fields}
    )


class MenderServerRig:
    options = Options(look_every=timedelta(0))
    pace: Pace | None = None
    patience: Patience | None = None
    password = TOKEN

    def __init__(self, grounds: Grounds, server: MenderServer) -> None:
        self.grounds = grounds
        self.server = server
        self.ahead = timedelta()
        """How far the driver's clock is ahead."""
        self.devices: dict[str, MenderClient] = {}
        self.bundler = TarBundler(grounds.depot, grounds.folder / "bundles", ".mender")
        self._open()

    def _open(self) -> None:
        self.mender = MenderServerDriver(
            self.grounds.twins,
            self.grounds.depot,
            lambda: self.grounds.routes,
            self.now,
            self.bundler,
            secrets=self.secret,
            pace=self.pace,
            patience=self.patience,
            options=self.options,
        )

    def secret(self, name: str) -> Secret:
        return Secret(self.password)

    def server_password(self, new: str) -> None:
        """Change it at the server alone."""
        self.server.token = new

    def now(self) -> datetime:
        return self.grounds.now() + self.ahead

    @property
    def driver(self) -> Driver:
        return self.mender

    def add(self, *devices: str) -> None:
        self.grounds.declare(*devices)
        for id_ in devices:
            self.devices[id_] = MenderClient(self.server, id_, self.grounds.folder / "devices" / id_)

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self.devices[device].behaviour = behaviour

    def step(self) -> bool:
        return self.mender.step() + sum(device.step() for device in self.devices.values()) > 0

    def restart(self) -> None:
        self.mender.close()
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
        self.mender.close()
        self.grounds.close()


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    with MenderServer() as server:
        rig = MenderServerRig(Grounds(folder, mender_delivery(server.url)), server)
        try:
            yield rig
        finally:
            rig.close()
