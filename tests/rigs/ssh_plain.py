"""Devices that are reached over SSH and have no software of ours: what is installed is all that is known of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devices.ssh import SshDevice
from rigs.base import Rig
from rigs.ssh import open_rig


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    settings = {"proof": "installed", "ssh": {"restart": {"unit": "lane.service"}}}
    with open_rig(folder, settings, SshDevice.plain) as rig:
        yield rig
