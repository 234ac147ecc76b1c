"""kill -9 of the controller while it is at a device over SSH: the next one finds out from the device how far it got."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import require_client
from devices.ssh import SshDevice
from edgewright_wire.messages import ModelAssignment
from rigs.base import Behaviour, assignments, work
from rigs.ssh import SshRig, open_rig

pytestmark = pytest.mark.e2e
CONTROLLER = Path(__file__).with_name("ssh_controller.py")
KILLED = -9
RESTART = {"restart": {"unit": "lane.service"}}
Place = tuple[str, int]


@pytest.fixture(params=["ssh", "ssh_plain"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SshRig]:
    require_client("sshd")
    proves = request.param == "ssh"
    settings = {"proof": "verified" if proves else "installed", "ssh": RESTART}
    with open_rig(tmp_path, settings, equip_proving if proves else SshDevice.plain) as rig:
        rig.add("lane-1")
        yield rig


def equip_proving(device: SshDevice) -> None:
    device.proving()
    device.program("systemctl", 'echo "$*" >>$device/units\n')


def controller(rig: SshRig, die: Place = ("never", 0)) -> "subprocess.Popen[str]":
    """Start another process that goes to the device once."""
    route = rig.grounds.routes["lane-1"]
    plan = rig.grounds.folder / "plan.json"
    plan.write_text(
        json.dumps(
            {
                "folder": str(rig.grounds.folder),
                "delivery": route.delivery.model_dump(mode="json", by_alias=True, exclude_none=True),
                "device": route.device.model_dump(mode="json", by_alias=True, exclude_none=True),
                "die": die,
            }
        )
    )
    command = [sys.executable, str(CONTROLLER), str(plan)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def run(rig: SshRig, die: Place = ("never", 0)) -> int:
    """Run a controller to its end, or its death; gives how many changes it made, or -9."""
    with controller(rig, die) as process:
        said, complained = process.communicate(timeout=120)
    if process.returncode == KILLED:
        return KILLED
    assert process.returncode == 0, complained
    changes: int = json.loads(said)["changes"]
    return changes


def assign(rig: SshRig, version: int) -> ModelAssignment:
    wanted = rig.release(version)
    rig.driver.assign(assignments(version, ["lane-1"], wanted), rig.configs())
    return wanted


def check(rig: SshRig, wanted: ModelAssignment, switches: int) -> None:
    """The device runs what is assigned, was switched so many times, and the application knows."""
    device, twin = rig.devices["lane-1"], rig.grounds.twins.twin("lane-1")
    assert twin is not None
    assert (twin.job, twin.reason) == (None, "")
    assert twin.model("reader").installed == wanted
    assert device.runs() == wanted.release
    assert device.switches == switches, "nothing is deployed twice"
    assert any(line.startswith("restart") for line in device.units)
    assert not (device.root / "incoming").exists()


def test_killed_before_or_after_any_change_of_the_store(rig: SshRig) -> None:
    assert run(rig) > 0
    wanted = assign(rig, 1)
    changes = run(rig)
    check(rig, wanted, switches=1)
    assert changes >= 4, "arrived, begun, about to switch, done"
    version = 1
    for when in ("before", "after"):
        for number in range(1, changes + 1):
            version += 1
            wanted = assign(rig, version)
            (rig.devices["lane-1"].folder / "units").unlink()
            assert run(rig, (when, number)) == KILLED
            # One pass is enough, whatever was done and not noted, or noted and not done.
            run(rig)
            check(rig, wanted, switches=version)


def test_killed_while_it_brings_files(rig: SshRig) -> None:
    device = rig.devices["lane-1"]
    wanted = assign(rig, 1)
    rig.behave("lane-1", Behaviour.STALLS)
    with controller(rig) as process:
        until = time.monotonic() + 60
        while not (device.root / "incoming").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        process.kill()
    rig.behave("lane-1", Behaviour.HONEST)
    assert device.runs() is None
    work(rig)
    check(rig, wanted, switches=1)


def test_killed_in_the_middle_of_the_switch(rig: SshRig) -> None:
    device, before = rig.devices["lane-1"], assign(rig, 1)
    work(rig)
    assert device.runs() == before.release
    wanted = assign(rig, 2)
    # What the device has begun there it ends by itself.
    device.program("systemctl", 'touch $device/telling\nreal sleep 1\necho "$*" >>$device/units\n')
    with controller(rig) as process:
        until = time.monotonic() + 60
        while not (device.folder / "telling").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        process.kill()
    assert device.runs() == wanted.release
    work(rig)
    check(rig, wanted, switches=2)


def test_called_off_while_no_controller_was_there(rig: SshRig) -> None:
    before = assign(rig, 1)
    work(rig)
    assign(rig, 2)
    # Files are brought and staged, and nothing is switched.
    assert run(rig, ("before", 3)) == KILLED
    rig.driver.cancel(["lane-1"])
    run(rig)
    device, twin = rig.devices["lane-1"], rig.grounds.twins.twin("lane-1")
    assert twin is not None
    assert twin.job is None
    known = twin.model("reader")
    assert known.failed is not None
    assert (known.failed.reason, known.installed) == ("Cancelled", before)
    assert (device.runs(), device.switches) == (before.release, 1)
    assert not (device.root / "incoming").exists(), "what was brought is not kept for nothing"
