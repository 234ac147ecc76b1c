"""The rig of devices that RAUC updates, which hears nothing of what its handler says."""

from contextlib import AbstractContextManager
from pathlib import Path

from clients import require_client
from devices.ddi import RaucLike
from rigs.base import Rig
from rigs.ddi import DdiRig, closing


class RaucRig(DdiRig):
    kind = RaucLike
    closes = True

    def add(self, *devices: str) -> None:
        super().add(*devices)
        for name in devices:
            device = self.devices[name]
            settings = self.grounds.folder / "devices" / name / "hawkbit.conf"
            server = self.site.url.removeprefix("http://")
            settings.write_text(
                f"[client]\nhawkbit_server = {server}\nssl = false\ntenant_id = DEFAULT\n"
                f"target_name = {name}\nauth_token = {device.token}\nbundle_download_location = /tmp/bundle.raucb\n"
            )
            device.environment["RAUC_HAWKBIT_CONFIG"] = str(settings)


def make_rig(folder: Path) -> AbstractContextManager[Rig]:
    for program in ("rauc", "mksquashfs"):
        require_client(program)
    return closing(RaucRig(folder, ddi={"bundle": {"format": "rauc"}}))
