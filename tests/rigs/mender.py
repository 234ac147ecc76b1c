"""The rig of devices with Mender's client and our update module, which proves what it installs."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from devices.mender_client import MenderDevice
from edgewright.ports import Driver
from edgewright_agent.commands.mender import SCRIPTS, script
from edgewright_schemas.delivery import Delivery
from paths import TESTS
from rigs.base import Behaviour, Grounded, Grounds, Rig
from rigs.mender_site import MenderSite

AGENT = Path(sys.executable).parent / "edgewright-agent"
REFUSING = f'runtime = "fakes.agent_runtimes:LackingRuntime"\npython_path = ["{TESTS}"]\n'


class MenderRig(Grounded):
    """Args: where everything is, the update module, and where update modules are that are not ours."""

    def __init__(self, folder: Path, module: str, modules: Path | None = None) -> None:
        delivery = {"type": "mender", "mender": {"module": module}}
        self.grounds = Grounds(folder, Delivery.model_validate(delivery))
        self.site = MenderSite(self.grounds)
        self._modules = modules
        self._devices: dict[str, MenderDevice] = {}
        self._pool = ThreadPoolExecutor(4)

    @property
    def driver(self) -> Driver:
        return self.site.driver

    def add(self, *devices: str) -> None:
        self.grounds.declare(*devices)
        for name in devices:
            folder = self._folder(name)
            folder.mkdir(parents=True)
            root, share = folder / "root", folder / "share"
            way = self.grounds.delivery.model_copy(update={"root": str(root)})
            self.grounds.routes[name] = replace(self.grounds.routes[name], delivery=way)
            device = self._devices[name] = MenderDevice(
                lambda: self.site.url,
                folder,
                {"device": name},
                self.site.public_key,
                self._modules or set_up(root, share),
                [] if self._modules else [share / "inventory/mender-inventory-edgewright"],
            )
            assert not device.authorize()
            self.site.accept(name)

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self._devices[device].behaviour = behaviour
        root = self._folder(device) / "root"
        refuses = behaviour is Behaviour.REFUSES
        if self._modules is None:
            root.mkdir(exist_ok=True)
            (root / "installer.toml").write_text(REFUSING if refuses else "")
        else:
            self._devices[device].path = f"{full_disk(self.grounds.folder) if refuses else ''}:/usr/bin:/bin"

    def restart(self) -> None:
        self.site.renew()

    def runs(self, device: str) -> str | None:
        marker = self.file(device, "release.json")
        return str(json.loads(marker)["assignment"]["release"]) if marker is not None else None

    def file(self, device: str, name: str) -> bytes | None:
        path = self._folder(device) / "root/models/reader/active" / name
        return path.read_bytes() if path.exists() else None

    def installs(self, device: str) -> int:
        return self._devices[device].installs

    def step(self) -> bool:
        return sum(self._pool.map(MenderDevice.step, self._devices.values())) > 0

    def close(self) -> None:
        self._pool.shutdown()
        for device in self._devices.values():
            device.close()
        self.site.stop()
        self.grounds.close()

    def _folder(self, device: str) -> Path:
        return self.grounds.folder / "devices" / device


def set_up(root: Path, share: Path) -> Path:
    """Give Mender's client our update module and inventory script; returns the folder of update modules."""
    for name, folder in SCRIPTS.items():
        path = share / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(name, root, AGENT))
        path.chmod(0o755)
    return share / "modules/v3"


def full_disk(folder: Path) -> Path:
    """A folder with a ``tar`` that finds no space for an update.

    Where it finds none for its backup, the update module says that all went well.
    """
    program = folder / "full-disk/tar"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        "#!/bin/sh\n"
        "case $* in *update.tar*) echo 'tar: Cannot write: No space left on device' >&2; exit 2 ;; esac\n"
        'exec /usr/bin/tar "$@"\n'
    )
    program.chmod(0o755)
    return program.parent


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    rig = MenderRig(folder, "edgewright")
    try:
        yield rig
    finally:
        rig.close()
