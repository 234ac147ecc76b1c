"""A rig whose devices ask a Mender server, which the driver uses through its management API."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from devices.mender import MenderClient
from edgewright.delivery.relayed.mender import MenderServerDriver
from edgewright.delivery.relayed.mender.options import Options
from edgewright_schemas.delivery import Delivery
from rigs.base import Grounds, Rig
from rigs.servers import ServerRig
from servers.mender_server import TOKEN, MenderServer


def mender_delivery(url: str, **fields: object) -> Delivery:
    return Delivery.model_validate(
        {"type": "mender-server", "menderServer": {"url": url, "token": {"secret": "mender"}}, **fields}
    )


class MenderServerRig(ServerRig[MenderServerDriver, MenderClient]):
    options = Options(look_every=timedelta(0))

    def __init__(self, grounds: Grounds, server: MenderServer) -> None:
        self.server = server
        super().__init__(grounds, TOKEN, ".mender")

    def open(self) -> MenderServerDriver:
        return MenderServerDriver(
            self.grounds.twins,
            self.grounds.depot,
            lambda: self.grounds.routes,
            self.now,
            self.bundler,
            secrets=self.secret,
            pace=self.pace,
            limits=self.limits,
            options=self.options,
        )

    def set_up(self, id_: str) -> MenderClient:
        return MenderClient(self.server, id_, self.grounds.folder / "devices" / id_)

    def server_password(self, new: str) -> None:
        """Change it at the server alone."""
        self.server.token = new


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    with MenderServer() as server:
        rig = MenderServerRig(Grounds(folder, mender_delivery(server.url)), server)
        try:
            yield rig
        finally:
            rig.close()
