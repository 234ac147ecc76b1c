"""The rig of devices with Mender's client and its own update module ``directory``, which proves nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clients import require_client
from rigs.base import Rig
from rigs.mender import MenderRig


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    require_client("mender")
    rig = MenderRig(folder, "directory", Path("/usr/share/mender/modules/v3"))
    try:
        yield rig
    finally:
        rig.close()
