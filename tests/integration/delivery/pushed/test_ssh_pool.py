"""Who is gone to when, with real threads and 40 hosts on loopback: bounds, first looks, ends, who comes back."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients import require_client
from devices.ssh import SshDevice, many
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Twin
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.fleet import Device
from rigs.base import Behaviour, assignments
from rigs.ssh import SshRig, open_rig

PATIENCE = 200.0


def unfinished(twin: Twin) -> bool:
    return twin.job is not None or bool(twin.reason) or any(model.failed for model in twin.models) or not twin.models


def wait(rig: SshRig, what: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until, "\n".join(
            str(twin) for twin in rig.grounds.twins.twins("ssh") if unfinished(twin)
        )
        time.sleep(0.1)


def runs(rig: SshRig, *devices: str) -> bool:
    wanted = rig.release(1).release
    return all(rig.devices[device].runs() == wanted for device in devices)


def seen(rig: SshRig, device: str) -> bool:
    twin = rig.grounds.twins.twin(device)
    return twin is not None and twin.last_seen is not None


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SshRig]:
    require_client("sshd")
    with open_rig(tmp_path, {"proof": "installed"}, SshDevice.plain) as rig:
        yield rig


def test_devices_are_looked_at_at_once_and_assignments_are_taken_there_without_waiting(rig: SshRig) -> None:
    rig.add("lane-1", "lane-2")
    woken = threading.Event()
    with rig.driver.attend(woken.set):
        wait(rig, lambda: seen(rig, "lane-1") and seen(rig, "lane-2"))
        assert woken.wait(PATIENCE)
        woken.clear()
        rig.driver.assign(assignments(1, ["lane-1", "lane-2"], rig.release(1)), rig.configs())
        wait(rig, lambda: runs(rig, "lane-1", "lane-2"))
        assert woken.wait(PATIENCE)
    log = rig.devices["lane-1"].log()
    assert log.count("Accepted publickey") == 2, "one look, one update"


def test_what_another_process_assigns_is_found(rig: SshRig) -> None:
    rig.add("lane-1")
    with rig.driver.attend(lambda: None):
        wait(rig, lambda: seen(rig, "lane-1"))
        rig.another().assign(assignments(1, ["lane-1"], rig.release(1)), rig.configs())
        wait(rig, lambda: runs(rig, "lane-1"))


def test_a_device_that_comes_back_is_found_and_brought_up_to_date(rig: SshRig) -> None:
    rig.add("lane-1", "lane-2")
    rig.behave("lane-1", Behaviour.SILENT)
    rig.driver.assign(assignments(1, ["lane-1", "lane-2"], rig.release(1)), rig.configs())
    with rig.driver.attend(lambda: None):
        wait(rig, lambda: runs(rig, "lane-2"))
        wait(rig, lambda: rig.grounds.twins.twin("lane-1").reason == "Unreachable")  # type: ignore[union-attr]
        rig.behave("lane-1", Behaviour.HONEST)
        wait(rig, lambda: runs(rig, "lane-1"))


def test_a_device_that_joins_the_fleet_is_gone_to(rig: SshRig) -> None:
    with rig.driver.attend(lambda: None):
        rig.add("lane-1")
        wait(rig, lambda: seen(rig, "lane-1"))


@contextmanager
def timed(most: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < most


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("ssh")}


def test_ending_does_not_wait_for_devices_that_hang(rig: SshRig) -> None:
    rig.add("lane-1", "lane-2")
    rig.devices["lane-1"].behave(Behaviour.STALLS)
    rig.devices["lane-2"].program("ls", "exec sleep 60\n")
    rig.driver.assign(assignments(1, ["lane-1", "lane-2"], rig.release(1)), rig.configs())
    attending = rig.driver.attend(lambda: None)
    attending.__enter__()
    try:
        wait(rig, lambda: (rig.devices["lane-1"].root / "incoming").exists() and "ssh-lane-2" in threads())
    finally:
        with timed(12):
            attending.__exit__(None, None, None)
    assert threads() == set()
    twin = rig.grounds.twins.twin("lane-1")
    assert twin is not None
    assert (twin.reason, twin.job is not None) == ("", True), "the end of the controller is no trouble of the device"

    rig.devices["lane-1"].behave(Behaviour.HONEST)
    (rig.devices["lane-2"].bin / "ls").unlink()
    with rig.driver.attend(lambda: None):
        wait(rig, lambda: runs(rig, "lane-1", "lane-2"))


def test_a_switch_that_is_under_way_is_given_a_moment(rig: SshRig) -> None:
    rig.add("lane-1")
    device = rig.devices["lane-1"]
    device.program("ln", '[ "$1" = -s ] && { touch $device/switching; real sleep 1; }\nreal ln "$@"\n')
    rig.driver.assign(assignments(1, ["lane-1"], rig.release(1)), rig.configs())
    with rig.driver.attend(lambda: None):
        wait(rig, (device.folder / "switching").exists)
    twin = rig.grounds.twins.twin("lane-1")
    assert twin is not None
    assert (twin.job, device.runs()) == (None, rig.release(1).release)


def test_forty_devices_a_few_at_a_time(rig: SshRig, tmp_path: Path) -> None:
    most, wanted = 5, rig.release(1)
    with many(tmp_path / "fleet", 40, rig.client.with_suffix(".pub")) as fleet:
        for number, address in enumerate(fleet.addresses):
            delivery = Delivery.model_validate(
                {
                    "type": "ssh",
                    "proof": "installed",
                    "root": str(fleet.root(number)),
                    "ssh": {"atOnce": most, "port": fleet.port, "user": fleet.user},
                }
            )
            own = {"host": address, "hostKey": fleet.public_host_key}
            device = Device.model_validate({"id": f"lane-{number}", "ssh": own})
            rig.grounds.routes[device.id] = Route("stores", delivery, device)
        rig.driver.assign(assignments(1, list(rig.grounds.routes), wanted), rig.configs())
        at_once: list[int] = []
        with rig.driver.attend(lambda: None):

            def done() -> bool:
                at_once.append(len(threads()) - 1)
                twins = rig.grounds.twins.twins("ssh")
                return len(twins) == 40 and all(twin.model("reader").installed == wanted for twin in twins)

            wait(rig, done)
        assert max(at_once) <= most
        assert max(at_once) > 1
        for number in range(40):
            assert (fleet.root(number) / "models/reader/active/model.onnx").exists()
