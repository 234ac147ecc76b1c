"""A whole agent against a TUF repository on disk, stepped by hand: what a device does, says and keeps."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.handle import ModelHandle
from edgewright_agent.probing.in_process import InProcessProber
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.layout import blob_path
from edgewright_wire.messages import Phase
from fakes.agent_ports import Device
from fakes.agent_probers import FailsAfterSwitch
from fakes.agent_runtimes import LinearRuntime, SkewedRuntime
from samples.agent_packages import FEATURES, MODEL, a_package, assignment, target, weights
from servers.tuf_repository import TufRepository

DEVICE = "dev-1"


@pytest.fixture
def repository(tmp_path: Path) -> TufRepository:
    return TufRepository(tmp_path / "repository")


@pytest.fixture
def device(tmp_path: Path, repository: TufRepository) -> Device:
    return Device(tmp_path / "device", repository.path, repository.root)


def computes(device: Device, version: int) -> bool:
    inputs = np.ones((2, FEATURES), np.float32)
    outputs = ModelHandle(device.directory, MODEL, LinearRuntime()).run(inputs)
    return bool(np.allclose(outputs, inputs @ weights(version)))


def test_installs_verifies_and_reports_what_is_assigned(device: Device, repository: TufRepository) -> None:
    package = a_package(1)
    repository.add_package(package)
    wanted = target(package, config=b"threshold = 0.8\n")
    repository.add_blob(b"threshold = 0.8\n")
    repository.assign(assignment(DEVICE, 7, wanted))

    report = device.poll()

    model = report.models[0]
    assert (report.assignment_version, model.phase, model.release) == (7, Phase.VERIFIED, wanted.release)
    assert model.installed == model.active == model.verified == package.digest
    assert model.probe is not None
    assert model.probe.passed
    assert model.probe.samples == 5
    assert model.probe.latency_p95_ms is not None
    assert computes(device, 1)
    assert (device.directory / "models" / MODEL / "active" / "lane.toml").read_bytes() == b"threshold = 0.8\n"


def test_a_second_poll_without_news_writes_nothing(device: Device, repository: TufRepository) -> None:
    repository.add_package(package := a_package(1))
    repository.assign(assignment(DEVICE, 1, target(package)))
    first = device.poll()
    before = {path: path.stat().st_mtime_ns for path in device.directory.rglob("*")}

    assert device.poll() == first
    assert {path: path.stat().st_mtime_ns for path in device.directory.rglob("*")} == before


def test_an_update_goes_into_the_other_slot_and_a_rollback_fetches_nothing(
    device: Device, repository: TufRepository
) -> None:
    one, two = a_package(1), a_package(2)
    repository.add_package(one)
    repository.add_package(two)
    repository.assign(assignment(DEVICE, 1, target(one)))
    device.poll()
    repository.assign(assignment(DEVICE, 2, target(two)))
    assert device.poll().models[0].verified == two.digest
    assert computes(device, 2)

    fetched = device.repository.bytes_read
    repository.assign(assignment(DEVICE, 3, target(one)))
    report = device.poll()

    assert (report.assignment_version, report.models[0].verified) == (3, one.digest)
    assert device.repository.bytes_read == fetched
    assert computes(device, 1)


def test_a_change_of_configuration_alone_moves_no_model_bytes(device: Device, repository: TufRepository) -> None:
    repository.add_package(package := a_package(1))
    for config in (b"a = 1\n", b"a = 2\n"):
        repository.add_blob(config)
    repository.assign(assignment(DEVICE, 1, target(package, config=b"a = 1\n")))
    device.poll()
    fetched = device.repository.bytes_read

    repository.assign(assignment(DEVICE, 2, target(package, config=b"a = 2\n")))
    report = device.poll()

    assert report.models[0].phase is Phase.VERIFIED
    assert device.repository.bytes_read - fetched == len(b"a = 2\n")
    assert ModelHandle(device.directory, MODEL, LinearRuntime()).config == b"a = 2\n"


def test_a_model_this_device_computes_differently_never_becomes_active(
    tmp_path: Path, device: Device, repository: TufRepository
) -> None:
    one, two = a_package(1), a_package(2)
    repository.add_package(one)
    repository.add_package(two)
    repository.assign(assignment(DEVICE, 1, target(one)))
    device.poll()

    skewed = Device(
        device.directory, repository.path, repository.root, prober=InProcessProber(SkewedRuntime()), clock=device.clock
    )
    repository.assign(assignment(DEVICE, 2, target(two)))
    model = skewed.poll().models[0]

    assert (model.phase, model.reason) == (Phase.FAILED, "ProbeMismatch")
    assert "0.5" in model.message
    assert (model.installed, model.active, model.verified) == (two.digest, one.digest, one.digest)
    assert model.probe is not None
    assert model.probe.max_error == pytest.approx(0.5, abs=1e-3)
    assert computes(skewed, 1)

    # Going back is a new assignment of the old content, with nothing left of the failure.
    repository.assign(assignment(DEVICE, 3, target(one)))
    model = skewed.poll().models[0]
    assert (model.phase, model.verified, model.reason) == (Phase.VERIFIED, one.digest, "")


def test_a_release_that_fails_after_the_switch_goes_back_at_once(tmp_path: Path, repository: TufRepository) -> None:
    one, two = a_package(1), a_package(2)
    prober = FailsAfterSwitch(two.digest)
    device = Device(tmp_path / "device", repository.path, repository.root, prober=prober)
    repository.add_package(one)
    repository.add_package(two)
    repository.assign(assignment(DEVICE, 1, target(one)))
    device.poll()
    repository.assign(assignment(DEVICE, 2, target(two)))

    model = device.poll().models[0]

    assert (model.phase, model.reason, model.active, model.verified) == (
        Phase.FAILED,
        "ProbeMismatch",
        one.digest,
        one.digest,
    )
    assert computes(device, 1)
    tried = prober.verifications
    device.poll()
    assert prober.verifications == tried, "a failed release is not tried again"

    repository.assign(assignment(DEVICE, 3, target(two)))
    assert device.poll().models[0].phase is Phase.FAILED
    assert prober.verifications > tried, "a new version asks for another try"
    assert computes(device, 1)


def test_a_first_release_that_fails_after_the_switch_leaves_nothing_active(
    tmp_path: Path, repository: TufRepository
) -> None:
    package = a_package(1)
    device = Device(tmp_path / "device", repository.path, repository.root, prober=FailsAfterSwitch(package.digest))
    repository.add_package(package)
    repository.assign(assignment(DEVICE, 1, target(package)))

    model = device.poll().models[0]

    assert (model.phase, model.active, model.verified) == (Phase.FAILED, None, None)
    assert not (device.directory / "models" / MODEL / "active").is_symlink()


def test_a_download_that_breaks_off_goes_on_where_it_was(device: Device, repository: TufRepository) -> None:
    package = a_package(1, padding=5000)
    repository.add_package(package)
    repository.assign(assignment(DEVICE, 1, target(package)))
    device.repository.break_after = 900

    model = device.poll().models[0]
    assert (model.phase, model.reason) == (Phase.FETCHING, "RepositoryUnreachable")
    for _ in range(10):
        device.sleep(400.0)
        device.work()

    assert device.reported().models[0].phase is Phase.VERIFIED
    assert {offset for _, offset in device.repository.offsets} >= {0, 900, 1800}
    wanted = sum(
        len(data)
        for data in package.blobs.values()
        if (device.directory / "blobs" / hex_of(digest_bytes(data))).exists()
    )
    assert device.repository.bytes_read == wanted, "no byte was fetched twice"


@pytest.mark.parametrize("damage", ["changed", "endless", "short"])
def test_bytes_that_are_not_the_promised_ones_are_refused_until_they_are(
    device: Device, repository: TufRepository, damage: str
) -> None:
    package = a_package(1)
    repository.add_package(package)
    repository.assign(assignment(DEVICE, 1, target(package)))
    largest = max(package.blobs, key=lambda digest: len(package.blobs[digest]))
    path = repository.path / blob_path(largest)
    sound = path.read_bytes()
    path.write_bytes({"changed": b"X" * len(sound), "endless": sound * 50, "short": sound[:-1]}[damage])

    model = device.poll().models[0]
    assert model.phase is Phase.FETCHING
    assert model.reason == ("FetchFailed" if damage == "short" else "DigestMismatch")
    device.poll()
    assert not (device.directory / "models").exists()

    path.write_bytes(sound)
    device.sleep(400.0)
    assert device.poll().models[0].phase is Phase.VERIFIED


def test_a_package_nobody_signed_is_not_taken(device: Device, repository: TufRepository) -> None:
    repository.add_package(a_package(1))
    unsigned = a_package(2)
    for data in unsigned.blobs.values():
        repository.add_blob(data)
    repository.assign(assignment(DEVICE, 1, target(unsigned)))

    model = device.poll().models[0]

    assert (model.phase, model.reason, model.installed) == (Phase.FETCHING, "PackageUnsigned", None)


@pytest.mark.parametrize("problem", ["no tolerance", "no golden samples", "taken name"])
def test_a_package_that_cannot_be_proved_is_rejected_with_the_reason(
    device: Device, repository: TufRepository, problem: str
) -> None:
    package = a_package(
        1,
        atol=None if problem == "no tolerance" else "0.001",
        without=("golden.npz",) if problem == "no golden samples" else (),
    )
    repository.add_package(package)
    config = repository.add_blob(b"x")
    wanted = target(package, config=b"x")
    if problem == "taken name" and wanted.config is not None:
        wanted = wanted.model_copy(update={"config": wanted.config.model_copy(update={"path": "model.onnx"})})
    assert config
    repository.assign(assignment(DEVICE, 1, wanted))

    model = device.poll().models[0]

    assert (model.phase, model.reason) == (Phase.FAILED, "InvalidPackage")
    assert {"no tolerance": "atol", "no golden samples": "golden.npz", "taken name": "model.onnx"}[
        problem
    ] in model.message


def test_models_do_not_hold_each_other_up_and_one_can_be_taken_away(device: Device, repository: TufRepository) -> None:
    good, bad = a_package(1), a_package(2)
    repository.add_package(good)
    repository.add_package(bad)
    (repository.path / blob_path(max(bad.blobs, key=lambda d: len(bad.blobs[d])))).unlink()
    repository.assign(assignment(DEVICE, 1, target(bad, model="counter"), target(good)))

    phases = {model.model: model.phase for model in device.poll().models}
    assert phases == {"counter": Phase.FETCHING, MODEL: Phase.VERIFIED}

    repository.assign(assignment(DEVICE, 2, target(good, model="counter")))
    report = device.poll()
    assert [(model.model, model.phase) for model in report.models] == [("counter", Phase.VERIFIED)]
    assert not (device.directory / "models" / MODEL).exists()


def test_blobs_that_nothing_refers_to_are_cleaned_up(device: Device, repository: TufRepository) -> None:
    packages = [a_package(version) for version in (1, 2, 3)]
    for version, package in enumerate(packages, start=1):
        repository.add_package(package)
        repository.assign(assignment(DEVICE, version, target(package)))
        assert device.poll().models[0].phase is Phase.VERIFIED

    kept = {path.name for path in (device.directory / "blobs").iterdir()}
    assert hex_of(packages[0].digest) not in kept
    assert {hex_of(packages[1].digest), hex_of(packages[2].digest)} <= kept


def test_a_damaged_active_slot_heals(device: Device, repository: TufRepository) -> None:
    repository.add_package(package := a_package(1))
    repository.assign(assignment(DEVICE, 1, target(package)))
    device.poll()
    active = device.directory / "models" / MODEL / "active"
    (active / "model.onnx").unlink()

    model = device.poll().models[0]

    assert (model.phase, model.active) == (Phase.VERIFIED, package.digest)
    assert computes(device, 1)


def test_lost_state_costs_a_verification_not_the_model(device: Device, repository: TufRepository) -> None:
    repository.add_package(package := a_package(1))
    repository.assign(assignment(DEVICE, 1, target(package)))
    before = device.poll()
    (device.directory / "state.json").write_text("{ not json")

    device.sleep(60.0)
    again = Device(device.directory, repository.path, repository.root, clock=device.clock)
    report = again.poll()

    assert report.models[0].verified == package.digest
    assert report.sequence > before.sequence
    assert (device.directory / "state.unreadable").exists()


def test_the_heartbeat_reports_without_news_and_sequences_grow(device: Device, repository: TufRepository) -> None:
    repository.add_package(package := a_package(1))
    repository.assign(assignment(DEVICE, 1, target(package)))
    first = device.poll()
    device.sleep(31.0)
    second = device.poll()

    assert second.sequence > first.sequence
    assert second.models == first.models


def test_a_slot_is_not_written_through_an_open_file(device: Device, repository: TufRepository) -> None:
    """An application that mapped the old model's file keeps its bytes whole through two updates."""
    packages = [a_package(version) for version in (1, 2, 3)]
    repository.add_package(packages[0])
    repository.assign(assignment(DEVICE, 1, target(packages[0])))
    device.poll()
    descriptor = os.open(device.directory / "models" / MODEL / "active" / "model.onnx", os.O_RDONLY)
    whole = os.read(descriptor, 1 << 20)
    for version, package in enumerate(packages[1:], start=2):
        repository.add_package(package)
        repository.assign(assignment(DEVICE, version, target(package)))
        device.poll()

    assert os.pread(descriptor, 1 << 20, 0) == whole
    os.close(descriptor)


class FullDisk(Disk):
    """Has no space for what is appended or linked, while told so."""

    def __init__(self) -> None:
        self.full = False
        super().__init__(self._refuse, sync=lambda _: None)

    def _refuse(self, operation: str) -> None:
        if self.full and operation.split(maxsplit=1)[0] in {"append", "link"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_reported_and_got_over(tmp_path: Path, repository: TufRepository) -> None:
    disk = FullDisk()
    device = Device(tmp_path / "device", repository.path, repository.root, disk=disk)
    repository.add_package(one := a_package(1))
    repository.assign(assignment(DEVICE, 1, target(one)))
    device.poll()
    disk.full = True
    repository.add_package(two := a_package(2))
    repository.assign(assignment(DEVICE, 2, target(two)))

    model = device.poll().models[0]
    assert (model.phase, model.reason, model.verified) == (Phase.FETCHING, "NoSpace", one.digest)
    assert computes(device, 1)

    disk.full = False
    device.sleep(400.0)
    assert device.poll().models[0].verified == two.digest
