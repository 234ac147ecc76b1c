"""Devices over SSH are assigned something while a pass is at them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from clients import require_client
from devices.ssh import SshDevice
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.driver import SshDriver
from edgewright.ports import TwinStore
from rigs.base import assignments
from rigs.ssh import SshRig, open_rig


class Meanwhile:
    """A TwinStore in which something else happens right after the first change."""

    def __init__(self, store: TwinStore, happens: Callable[[], None]) -> None:
        self._store = store
        self._happens = [happens]

    def twin(self, device: str) -> Twin | None:
        return self._store.twin(device)

    def twins(self, system: str | None = None, *, since: Mapping[str, int] | None = None) -> Sequence[Twin]:
        return self._store.twins(system, since=since)

    def change_all(self, devices: Sequence[str], system: str, work: Callable[[Twin], Twin | None]) -> None:
        self._store.change_all(devices, system, work)

    def change(self, device: str, system: str, work: Callable[[Twin], Twin | None]) -> Twin | None:
        changed = self._store.change(device, system, work)
        while self._happens:
            self._happens.pop()()
        return changed


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SshRig]:
    require_client("sshd")
    with open_rig(tmp_path, {"proof": "installed"}, SshDevice.plain) as made:
        made.add("lane-1")
        yield made


def test_what_is_assigned_while_a_device_is_looked_at_is_brought_in_the_same_pass(rig: SshRig) -> None:
    wanted = rig.release(1)

    def assign() -> None:
        rig.driver.assign(assignments(1, ["lane-1"], wanted), rig.configs())

    grounds = rig.grounds
    store = Meanwhile(grounds.twins, assign)
    driver = SshDriver(store, grounds.depot, lambda: grounds.routes, grounds.now, grounds.keys, rig.files.__getitem__)
    ended = driver.run_session(grounds.routes["lane-1"], Deadline())

    # The device was looked at as one at rest: nothing was made ready there for what came then.
    assert ended.twin is not None and not ended.failed
    assert (ended.twin.job, ended.twin.model("reader").installed) == (None, wanted)
    assert rig.runs("lane-1") == wanted.release
    assert rig.installs("lane-1") == 1
