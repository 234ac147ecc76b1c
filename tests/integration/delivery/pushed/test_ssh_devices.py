"""What is brought to devices over SSH, and what becomes of it there: uploads, disks, programs, installers, drift."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from clients import require_client
from devices.ssh import SshDevice
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Twin
from edgewright_agent.durable import Disk
from edgewright_agent.handle import ModelHandle
from edgewright_agent.models.slots import ModelSlots
from edgewright_wire.messages import ModelAssignment
from edgewright_wire.slots import Slot
from rigs.base import assignments, content_of, work
from rigs.ssh import SshRig, open_rig
from samples.agent_packages import FEATURES, a_package, as_onnx, target, weights

MODEL_BYTES = 3_000_000


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[SshRig]:
    require_client("sshd")
    with open_rig(tmp_path, {"proof": "installed"}, SshDevice.plain) as rig:
        rig.add("lane-1")
        yield rig


@pytest.fixture
def proving(tmp_path: Path) -> Iterator[SshRig]:
    require_client("sshd")
    with open_rig(tmp_path, {"proof": "verified"}, SshDevice.proving, looks_again=False) as rig:
        rig.add("lane-1")
        yield rig


def assign(rig: SshRig, version: int, *targets: ModelAssignment) -> None:
    rig.driver.assign(assignments(version, ["lane-1"], *targets), rig.configs())


def large(rig: SshRig, version: int = 1, *, config: bytes | None = None) -> ModelAssignment:
    """A release whose model takes a while to travel; not ONNX any more, and as random as weights are."""
    noise = np.random.default_rng(version).bytes(MODEL_BYTES)
    package = a_package(version, model=as_onnx(weights(version)) + noise)
    assert rig.grounds.repository.publish([content_of(package, rig.grounds.folder / "blobs")]) == {}
    wanted = target(package, config=config)
    if config is not None and wanted.config is not None:
        rig.grounds.depot.keep({wanted.config.digest: config})
    return wanted


def received(device: SshDevice, connections: int) -> list[int]:
    """Bytes that came with each connection, as sshd counts them when it ends."""
    until = time.monotonic() + 20
    found: list[str] = []
    while len(found) < connections:
        assert time.monotonic() < until, device.log()
        found = re.findall(r"Transferred: sent \d+, received (\d+) bytes", device.log())
    return [int(count) for count in found]


def failed(twin: Twin) -> tuple[str, str]:
    known = twin.model("reader").failed
    return (known.reason, known.message) if known is not None else ("", "")


# ── uploads ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_release_brings_only_what_differs_and_each_pass_connects_once(plain: SshRig) -> None:
    device = plain.devices["lane-1"]
    assign(plain, 1, large(plain, config=b"threshold = 0.8"))
    plain.run_session("lane-1")
    assign(plain, 2, large(plain, config=b"threshold = 0.9"))
    plain.run_session("lane-1")

    assert device.file("lane.toml") == b"threshold = 0.9"
    first, second = received(device, 2)
    assert first > MODEL_BYTES
    assert second < 50_000
    assert device.log().count("Accepted publickey") == 2
    assert device.log().count("Starting session") == 6, "look, receive, switch"


def test_an_upload_that_was_cut_is_continued(plain: SshRig) -> None:
    device = plain.devices["lane-1"]
    wanted = large(plain)
    device.program(
        "tar",
        '[ -e $device/cut ] && { real tee $device/stream | real tar "$@"; exit; }\ntouch $device/cut\n'
        f'real head -c {MODEL_BYTES // 2} | real tar "$@"\nreal kill -9 $(real ps -o ppid= -p $PPID)\nexit 2\n',
    )
    assign(plain, 1, wanted)
    assert plain.run_session("lane-1").reason == "Disconnected"
    assert device.runs() is None
    (begun,) = [path.stat().st_size for path in (device.root / "incoming").iterdir() if path.stat().st_size > 100_000]

    assert plain.run_session("lane-1").reason == ""
    assert device.runs() == wanted.release
    assert (device.folder / "stream").stat().st_size < MODEL_BYTES - begun + 50_000
    assert begun > MODEL_BYTES // 3


def test_a_piece_that_is_not_what_was_sent_is_brought_again(plain: SshRig) -> None:
    """A device lost power: what it had of a file has its length, and other bytes."""
    device, wanted = plain.devices["lane-1"], large(plain)
    model = next(file for file in plain.grounds.depot.payload(wanted) if file.name == "model.onnx")
    (device.root / "incoming").mkdir(parents=True)
    (device.root / "incoming" / model.digest.removeprefix("sha256:")).write_bytes(b"\0" * 1_000_000)
    assign(plain, 1, wanted)
    assert plain.run_session("lane-1").reason == ""
    assert device.runs() == wanted.release


@pytest.mark.parametrize("has_tar", [True, False])
def test_a_device_with_nothing_but_busybox(tmp_path: Path, has_tar: bool) -> None:
    require_client("sshd")
    programs = tmp_path / "busybox"
    programs.mkdir()
    subprocess.run([require_client("busybox"), "--install", "-s", programs], check=True)
    if not has_tar:
        (programs / "tar").unlink()
        # A shell that prefers its own programs would find it still.
        (programs / "sh").unlink()
        (programs / "sh").symlink_to(require_client("dash"))
    with open_rig(tmp_path / "rig", {"proof": "installed"}, lambda device: None) as rig:
        rig.add_device(SshDevice("lane-1", tmp_path / "lane-1", rig.client.with_suffix(".pub"), path=str(programs)))
        device = rig.devices["lane-1"]
        for version in (1, 2, 3):
            wanted = rig.release(version, config=b"number = %d" % version)
            assign(rig, version, wanted)
            work(rig)
            assert device.runs() == wanted.release
            serves(device, version)
        assign(rig, 4)
        work(rig)
        assert not (device.root / "models/reader").exists()


def serves(device: SshDevice, version: int) -> None:
    """An application gets the model, its labels and its configuration."""
    handle = ModelHandle(device.root, "reader")
    inputs = np.ones((2, FEATURES), dtype=np.float32)
    np.testing.assert_allclose(handle.run(inputs), inputs @ weights(version), rtol=1e-5)
    assert handle.labels[0] == f"v{version}-0"
    assert handle.config == b"number = %d" % version
    slots = ModelSlots(device.root / "models/reader", Disk())
    active = slots.active()
    assert active is not None
    held = slots.holds(active)
    assert held is not None
    assert held.release == device.runs()


def test_an_application_goes_on_while_its_model_is_replaced(plain: SshRig) -> None:
    device = plain.devices["lane-1"]
    assign(plain, 1, plain.release(1))
    plain.run_session("lane-1")
    handle = ModelHandle(device.root, "reader")
    inputs = np.ones((1, FEATURES), dtype=np.float32)
    before = handle.run(inputs)
    for version in (2, 3):
        assign(plain, version, plain.release(version))
        plain.run_session("lane-1")
    handle.refresh()
    np.testing.assert_allclose(handle.run(inputs), inputs @ weights(3), rtol=1e-5)
    assert not np.allclose(before, handle.run(inputs))


def test_blobs_that_nothing_needs_go_and_what_is_to_go_back_to_stays(plain: SshRig) -> None:
    device = plain.devices["lane-1"]
    sizes = []
    for version in range(1, 6):
        assign(plain, version, large(plain, version))
        plain.run_session("lane-1")
        blobs = list((device.root / "blobs").iterdir())
        sizes.append(sum(path.stat().st_size for path in blobs))
    assert sizes[-1] == pytest.approx(2 * MODEL_BYTES, rel=0.1)
    assert sorted(path.name for path in device.root.iterdir()) == ["blobs", "models"]
    assign(plain, 6, large(plain, 4))
    plain.run_session("lane-1")
    assert received(device, 6)[-1] < 50_000, "the release before is there still"


# ── disks and rights ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of a megabyte; only root may mount one."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def full_disk(device: SshDevice) -> Iterator[None]:
    """Whatever is written ends as on a full disk."""
    device.program("tar", "exec cat >/dev/full\n")
    yield
    (device.bin / "tar").unlink()


def test_a_full_disk_fails_the_job_and_is_left_as_it_was(plain: SshRig) -> None:
    device = plain.devices["lane-1"]
    with small_disk(device.root) if os.getuid() == 0 else full_disk(device):
        small = plain.release(1)
        if os.getuid() == 0:
            assign(plain, 1, small)
            plain.run_session("lane-1")
            assert device.runs() == small.release
        assign(plain, 2, large(plain, 2))
        reason, message = failed(plain.run_session("lane-1"))
        assert reason == "NoSpace"
        assert "No space left on device" in message
        assert "free space on the device" in message
        assert not (device.root / "incoming").exists(), "what does not fit is not left there"
        if os.getuid() == 0:
            assert device.runs() == small.release
            assign(plain, 3, plain.release(3))
            plain.run_session("lane-1")
            assert device.runs() == plain.release(3).release


def test_a_folder_that_is_an_agents_is_left_alone(plain: SshRig) -> None:
    device = plain.devices["lane-1"]
    device.root.mkdir()
    (device.root / "agent.toml").write_text("")
    assign(plain, 1, plain.release(1))
    twin = plain.run_session("lane-1")
    assert failed(twin)[0] == twin.reason == "AgentThere"
    assert "belongs to an agent" in twin.message
    assert [path.name for path in device.root.iterdir() if path.name not in {"blobs", "incoming"}] == ["agent.toml"]


def test_a_root_that_cannot_be_made(plain: SshRig) -> None:
    device = plain.devices["lane-1"]
    device.root.write_text("a file is in the way")
    assign(plain, 1, plain.release(1))
    twin = plain.run_session("lane-1")
    assert failed(twin)[0] == "NotWritable"
    assert "name another root" in failed(twin)[1]
    device.root.unlink()
    assign(plain, 2, plain.release(1))
    work(plain)
    assert device.runs() == plain.release(1).release


def test_what_is_no_shell_says_so(plain: SshRig) -> None:
    device = plain.devices["lane-1"]
    device.options = {"ForceCommand": "echo This account is not available."}
    device.restart()
    twin = plain.run_session("lane-1")
    assert twin.reason == "NotUnderstood"
    assert "This account is not available." in twin.message


# ── installers ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_without_the_installer_says_what_is_missing(proving: SshRig) -> None:
    device = proving.devices["lane-1"]
    (device.bin / "edgewright-agent").unlink()
    device.path = str(proving.grounds.folder / "few")
    Path(device.path).mkdir()
    for name in ("sh", "mkdir", "ls", "tar", "printf"):
        (Path(device.path) / name).symlink_to(shutil.which(name) or "/bin/true")
    device.restart()
    twin = proving.run_session("lane-1")
    assert (twin.reason, failed(twin)) == ("InstallerMissing", ("", ""))
    assert "install edgewright-agent there" in twin.message
    assign(proving, 1, proving.release(1))
    twin = proving.run_session("lane-1")
    assert failed(twin)[0] == "InstallerMissing"


@pytest.mark.parametrize("says", ["", "echo all is well", 'echo \'{"evidence":1,"nonce":"another","model":{}}\''])
def test_an_installer_without_evidence_proves_nothing(proving: SshRig, says: str) -> None:
    device = proving.devices["lane-1"]
    before = proving.release(1)
    assign(proving, 1, before)
    proving.run_session("lane-1")
    original = (device.bin / "edgewright-agent").read_text()
    (device.bin / "edgewright-agent").write_text(
        original.replace('case "$how $1" in', f'[ $1 = install ] && {{ {says or ":"}; exit 0; }}\ncase "$how $1" in')
    )
    assign(proving, 2, proving.release(2))
    twin = proving.run_session("lane-1")
    assert failed(twin)[0] == "NotProved"
    assert twin.model("reader").installed == before
    assert twin.model("reader").proof is Proof.VERIFIED
    assert device.runs() == before.release


def test_an_application_that_falls_over_gets_back_what_was_proved_before(proving: SshRig) -> None:
    device = proving.devices["lane-1"]
    device.program("systemctl", '[ "$1" = restart ] && echo "$3" >>$device/units\n[ ! -e $device/falls ]\n')
    before = proving.release(1)
    proving.declare("lane-1", restart={"unit": "lane.service"})
    assign(proving, 1, before)
    assert proving.run_session("lane-1").model("reader").proof is Proof.VERIFIED
    assert device.units == ["lane.service"]

    (device.folder / "falls").touch()
    assign(proving, 2, proving.release(2))
    twin = proving.run_session("lane-1")
    assert failed(twin)[0] == "RestartFailed"
    assert "look at the application's log" in failed(twin)[1]
    assert device.runs() == before.release
    (device.folder / "falls").unlink()
    twin = proving.run_session("lane-1")
    assert twin.model("reader").installed == before
    assert twin.model("reader").proof is Proof.VERIFIED


# ── drift ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("harm", ["model", "file", "pointer"])
def test_what_was_harmed_on_a_device_is_put_right(plain: SshRig, harm: str) -> None:
    device, wanted = plain.devices["lane-1"], plain.release(1)
    assign(plain, 1, wanted)
    plain.run_session("lane-1")
    if harm == "model":
        shutil.rmtree(device.root / "models")
    elif harm == "file":
        (device.active() / "golden.npz").unlink()
    else:
        device.active().unlink()
    twin = plain.run_session("lane-1")
    assert twin.job is None
    assert twin.model("reader").installed == wanted
    assert device.runs() == wanted.release
    assert (device.active() / "golden.npz").exists()
    assert device.switches == 2


def test_a_device_that_was_set_up_by_another_store_is_known_again(plain: SshRig) -> None:
    device, wanted = plain.devices["lane-1"], plain.release(1)
    assign(plain, 1, wanted)
    plain.run_session("lane-1")
    plain.grounds.twins.change("lane-1", "ssh", lambda twin: None)
    assign(plain, 1, wanted)
    twin = plain.run_session("lane-1")
    assert twin.model("reader").installed == wanted
    assert device.switches == 1


def test_what_is_active_and_was_not_proved_is_proved(proving: SshRig) -> None:
    device, wanted = proving.devices["lane-1"], proving.release(1)
    assign(proving, 1, wanted)
    proving.run_session("lane-1")
    (device.root / "installer.json").unlink()
    before = proving.grounds.twins.twin("lane-1")
    after = proving.run_session("lane-1")
    assert before is not None
    assert after.models == before.models
    assert device.switches == 1


def test_a_class_that_is_asked_for_proof_from_now_on_gives_it(plain: SshRig) -> None:
    device, wanted = plain.devices["lane-1"], plain.release(1)
    assign(plain, 1, wanted)
    plain.run_session("lane-1")
    device.proving()
    plain.settings = {"proof": "verified"}
    plain.declare("lane-1")
    assign(plain, 2, wanted)
    twin = plain.run_session("lane-1")
    assert twin.model("reader").proof is Proof.VERIFIED
    assert device.switches == 1
    assert ModelSlots(device.root / "models/reader", Disk()).holds(Slot.A) == wanted


def test_two_models_are_brought_in_one_pass(plain: SshRig) -> None:
    device, first = plain.devices["lane-1"], plain.release(1)
    second = first.model_copy(update={"model": "counter", "release": "counter-1"})
    assign(plain, 1, first, second)
    twin = plain.run_session("lane-1")
    assert twin.job is None
    assert (device.runs("reader"), device.runs("counter")) == (first.release, "counter-1")
    assert device.log().count("Accepted publickey") == 1
    assign(plain, 2, second)
    plain.run_session("lane-1")
    assert (device.runs("reader"), device.runs("counter")) == (None, "counter-1")
