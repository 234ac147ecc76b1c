"""Devices that are reached over SSH and have no software of ours: what is installed is all that is known of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.rig_ssh import open_rig
from fakes.rig_ssh_device import SshDevice
from fakes.rigs import Rig


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    settings = {"proof": "installed", "ssh": {"restart": {"unit": "lane.service"}}}
    with open_rig(folder, settings, SshDevice.plain) as rig:
        yield rig
