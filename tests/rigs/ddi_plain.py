"""The rig of devices that SWUpdate updates and that have no installer: what is there is what their client says."""

from contextlib import AbstractContextManager
from pathlib import Path

from rigs.base import Behaviour, Rig
from rigs.ddi import DdiRig, closing, program


class PlainRig(DdiRig):
    closes = True

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self.devices[device].behaviour = behaviour
        full = program(self.grounds.folder / "full-disk/cp", "echo 'cp: No space left on device' >&2; exit 1").parent
        path = f"{full}:{self.path}" if behaviour is Behaviour.REFUSES else self.path
        self.devices[device].environment["PATH"] = path


def make_rig(folder: Path) -> AbstractContextManager[Rig]:
    return closing(PlainRig(folder, proof="installed"))
