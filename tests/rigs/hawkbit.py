"""A rig whose devices ask a hawkBit, which the driver uses through its management API."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from edgewright.delivery.relayed.hawkbit import HawkbitDriver
from edgewright.delivery.relayed.hawkbit.options import FORCE_AFTER
from edgewright_schemas.delivery import Delivery
from rigs.base import Grounds, Rig
from rigs.servers import ServerRig
from servers.hawkbit.ddi import HawkbitDevice
from servers.hawkbit.server import PASSWORD, USER, HawkbitServer


def hawkbit_delivery(url: str, settings: Mapping[str, object] = MappingProxyType({}), **fields: object) -> Delivery:
    settings = {"url": url, "user": USER, "password": {"secret": "hawkbit"}, **settings}
    return Delivery.model_validate({"type": "hawkbit", "hawkbit": settings, **fields})


class HawkbitRig(ServerRig[HawkbitDriver, HawkbitDevice]):
    force_after = FORCE_AFTER

    def __init__(self, grounds: Grounds, server: HawkbitServer) -> None:
        self.server = server
        super().__init__(grounds, PASSWORD, ".swu")

    def open(self) -> HawkbitDriver:
        return HawkbitDriver(
            self.grounds.twins,
            self.grounds.depot,
            lambda: self.grounds.routes,
            self.now,
            self.bundler,
            secrets=self.secret,
            pace=self.pace,
            limits=self.limits,
            force_after=self.force_after,
        )

    def set_up(self, id_: str) -> HawkbitDevice:
        return HawkbitDevice(self.server, id_, self.grounds.folder / "devices" / id_)

    def server_password(self, new: str) -> None:
        """Change it at the server alone."""
        self.server.password = new


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    with HawkbitServer() as server:
        rig = HawkbitRig(Grounds(folder, hawkbit_delivery(server.url)), server)
        try:
            yield rig
        finally:
            rig.close()
