"""The rig of devices that SWUpdate updates and whose installer proves what it installs."""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from devices.ddi import DdiDevice, SwupdateLike
from edgewright.ports import Driver
from edgewright_schemas.delivery import Delivery
from edgewright_wire.messages import ModelAssignment
from paths import TESTS
from rigs.base import Behaviour, Grounded, Grounds, Rig
from rigs.ddi_site import DdiSite

AGENT = Path(sys.executable).parent / "edgewright-agent"
REFUSING = f'runtime = "fakes.agent_runtimes:LackingRuntime"\npython_path = ["{TESTS}"]\n'


class DdiRig(Grounded):
    """Args: where everything is, and what its fleet says of delivery.

    Nobody but the real SWUpdate needs the waiting in its bundles' scripts: ``sleep`` returns at once on these devices.
    """

    kind: type[DdiDevice] = SwupdateLike
    closes = False

    def __init__(self, folder: Path, **delivery: Any) -> None:
        self.grounds = Grounds(folder, Delivery.model_validate({"type": "ddi", "installer": str(AGENT), **delivery}))
        self.site = DdiSite(self.grounds)
        self.devices: dict[str, DdiDevice] = {}
        self.path = f"{program(folder / 'quick/sleep', 'exit 0').parent}:/usr/bin:/bin"

    @property
    def driver(self) -> Driver:
        return self.site.driver

    def add(self, *devices: str) -> None:
        self.grounds.declare(*devices)
        for name in devices:
            folder = self.grounds.folder / "devices" / name
            device = self.devices[name] = self.kind(
                name,
                f"{self.site.url}/DEFAULT/controller/v1/{name}",
                self.site.token(name),
                folder,
                self.site.certificate,
                {"PATH": self.path},
                closes=self.closes,
            )
            way = self.grounds.delivery.model_copy(update={"root": str(device.root)})
            self.grounds.routes[name] = replace(self.grounds.routes[name], delivery=way)

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self.devices[device].behaviour = behaviour
        (self.devices[device].root / "installer.toml").write_text(REFUSING if behaviour is Behaviour.REFUSES else "")

    def step(self) -> bool:
        return sum([device.step() for device in self.devices.values()]) > 0

    def restart(self) -> None:
        self.site.renew()

    def runs(self, device: str) -> str | None:
        marker = self.file(device, "release.json")
        return ModelAssignment.model_validate(json.loads(marker)["assignment"]).release if marker else None

    def file(self, device: str, name: str) -> bytes | None:
        path = self.devices[device].active / name
        return path.read_bytes() if path.exists() else None

    def installs(self, device: str) -> int:
        return self.devices[device].installs

    def close(self) -> None:
        for device in self.devices.values():
            device.close()
        self.site.stop()
        self.grounds.close()


def program(path: Path, script: str) -> Path:
    """Write a program for a device."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@contextmanager
def closing(rig: DdiRig) -> Iterator[Rig]:
    try:
        yield rig
    finally:
        rig.close()


def make_rig(folder: Path) -> AbstractContextManager[Rig]:
    return closing(DdiRig(folder))
