"""Installing what another update system brought: what the evidence says, and what the application goes on with."""

import errno
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.errors import SettingsError
from edgewright_agent.handle import ModelHandle
from edgewright_agent.models.installer import Installer
from edgewright_agent.models.payload import read_order
from edgewright_agent.probing.in_process import InProcessProber
from edgewright_agent.probing.prober import Prober
from edgewright_wire.messages import ModelReport, Phase
from fakes.agent_probers import FailsAfterSwitch
from fakes.agent_runtimes import LinearRuntime, SkewedRuntime
from samples.agent_packages import FEATURES, MODEL, PackageFiles, a_package, target, weights
from samples.agent_payloads import write_payload

PACKAGES = {version: a_package(version) for version in (1, 2, 3)}


def config(version: int) -> bytes:
    return f"threshold = 0.{version}\n".encode()


class Site:
    """A device's directory, and payloads as they arrive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = path / "device"
        self.directory.mkdir()
        self.disk = Disk(sync=lambda _: None)
        self.prober: Prober = InProcessProber(LinearRuntime())

    @property
    def installer(self) -> Installer:
        """A new process."""
        return Installer(self.directory, self.disk, self.prober, lambda: datetime.now(UTC))

    def payload(self, version: int, package: PackageFiles | None = None, model: str = MODEL) -> Path:
        folder = self.path / "payload"
        shutil.rmtree(folder, ignore_errors=True)
        package = package or PACKAGES[version]
        wanted = target(package, config=config(version), model=model)
        return write_payload(folder, package, wanted, config=config(version))

    def install(self, version: int, package: PackageFiles | None = None, model: str = MODEL) -> ModelReport:
        folder = self.payload(version, package, model)
        return self.installer.install(read_order(folder), folder)

    def serves(self, version: int | None, model: str = MODEL) -> None:
        """What an application computes with, and the configuration it gets."""
        if version is None:
            assert not (self.directory / "models" / model / "active").is_symlink()
            return
        inputs = np.ones((2, FEATURES), np.float32)
        handle = ModelHandle(self.directory, model, LinearRuntime())
        np.testing.assert_allclose(handle.run(inputs), inputs @ weights(version), rtol=1e-5)
        assert handle.config == config(version)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def says(report: ModelReport, phase: Phase, reason: str, *, active: int | None, verified: int | None) -> None:
    assert (report.phase, report.reason) == (phase, reason), report.message
    assert report.active == (None if active is None else PACKAGES[active].digest)
    assert report.verified == (None if verified is None else PACKAGES[verified].digest)
    assert bool(report.message) == (phase is Phase.FAILED)


def test_a_payload_is_installed_proved_and_served(site: Site) -> None:
    report = site.install(1)
    says(report, Phase.VERIFIED, "", active=1, verified=1)
    assert report.release == report.active_release == target(PACKAGES[1], config=config(1)).release
    assert report.probe is not None
    assert (report.probe.passed, report.probe.samples) == (True, 5)
    site.serves(1)

    shutil.rmtree(site.path / "payload")
    assert site.installer.installed() == (report,), "nothing of the payload is needed any more"


def test_an_update_a_rollback_and_a_removal(site: Site) -> None:
    first = site.install(1)
    second = site.install(2)
    says(second, Phase.VERIFIED, "", active=2, verified=2)
    assert first.since is not None
    assert second.since is not None
    assert second.since > first.since

    for _ in range(2):  # given twice, an order does what it does once
        says(site.installer.rollback(MODEL), Phase.VERIFIED, "", active=1, verified=1)
        site.serves(1)
    for _ in range(2):
        assert site.installer.uninstall(MODEL) == ModelReport(model=MODEL, phase=Phase.IDLE)
        assert list((site.directory / "models").iterdir()) == list((site.directory / "blobs").iterdir()) == []


def test_installing_what_runs_verifies_it_again_and_writes_no_slot(site: Site) -> None:
    site.install(1)
    slot = (site.directory / "models" / MODEL / "active").resolve()
    before = {path.name: path.stat().st_mtime_ns for path in slot.iterdir()}
    says(site.install(1), Phase.VERIFIED, "", active=1, verified=1)
    assert (site.directory / "models" / MODEL / "active").resolve() == slot
    assert {path.name: path.stat().st_mtime_ns for path in slot.iterdir()} == before

    site.prober = InProcessProber(SkewedRuntime())
    says(site.install(1), Phase.FAILED, "ProbeMismatch", active=1, verified=None)
    site.prober = InProcessProber(LinearRuntime())
    says(site.install(1), Phase.VERIFIED, "", active=1, verified=1)


def test_a_model_that_computes_differently_never_serves(site: Site) -> None:
    site.install(1)
    site.prober = InProcessProber(SkewedRuntime())
    report = site.install(2)
    says(report, Phase.FAILED, "ProbeMismatch", active=1, verified=1)
    assert report.release == target(PACKAGES[2], config=config(2)).release
    assert report.installed == PACKAGES[2].digest
    assert report.probe is not None
    assert report.probe.max_error == pytest.approx(0.5, abs=1e-3)
    site.serves(1)
    assert site.installer.installed() == (report,), "the refusal can be asked for until the next order"


def test_a_model_that_fails_where_it_serves_makes_way_at_once(site: Site) -> None:
    site.install(1)
    site.prober = FailsAfterSwitch(PACKAGES[2].digest)
    says(site.install(2), Phase.FAILED, "ProbeMismatch", active=1, verified=1)
    site.serves(1)


def test_a_first_model_that_fails_where_it_serves_leaves_nothing_active(site: Site) -> None:
    site.prober = FailsAfterSwitch(PACKAGES[1].digest)
    says(site.install(1), Phase.FAILED, "ProbeMismatch", active=None, verified=None)
    site.serves(None)


def test_going_back_to_what_fails_now_changes_nothing(site: Site) -> None:
    site.install(1)
    site.install(2)
    site.prober = FailsAfterSwitch(PACKAGES[1].digest)
    says(site.installer.rollback(MODEL), Phase.FAILED, "ProbeMismatch", active=2, verified=2)
    site.serves(2)


def test_after_a_refused_install_a_rollback_stays_with_what_serves(site: Site) -> None:
    site.install(1)
    site.install(2)
    site.prober = InProcessProber(SkewedRuntime())
    site.install(3)
    site.prober = InProcessProber(LinearRuntime())
    says(site.installer.rollback(MODEL), Phase.VERIFIED, "", active=2, verified=2)
    site.serves(2)


def test_there_is_no_way_back_from_the_first_install(site: Site) -> None:
    site.install(1)
    says(site.installer.rollback(MODEL), Phase.FAILED, "NothingBefore", active=1, verified=1)
    site.serves(1)
    assert site.installer.rollback("other").reason == "NothingBefore"


def test_models_are_independent_of_each_other(site: Site) -> None:
    site.install(1)
    site.prober = InProcessProber(SkewedRuntime())
    assert site.install(2, model="counter").phase is Phase.FAILED
    site.prober = InProcessProber(LinearRuntime())
    assert [(report.model, report.phase) for report in site.installer.installed()] == [
        ("counter", Phase.FAILED),
        (MODEL, Phase.VERIFIED),
    ]
    site.installer.uninstall("counter")
    site.serves(1)
    says(site.install(1), Phase.VERIFIED, "", active=1, verified=1)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])


def replace_by_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.npz", "labels.json", "lane.toml"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "NotFound"),
        (truncate, "DigestMismatch"),
        (flip, "DigestMismatch"),
        (replace_by_a_pipe, "NotFound"),
    ],
)
def test_a_damaged_payload_is_refused(site: Site, name: str, damage: Callable[[Path], None], reason: str) -> None:
    site.install(1)
    folder = site.payload(2)
    damage(folder / name)
    report = site.installer.install(read_order(folder), folder)
    says(report, Phase.FAILED, reason, active=1, verified=1)
    site.serves(1)
    says(site.install(2), Phase.VERIFIED, "", active=2, verified=2)


def test_every_file_that_is_missing_is_told_at_once(site: Site) -> None:
    folder = site.payload(1)
    (folder / "labels.json").unlink()
    truncate(folder / "model.onnx")
    message = site.installer.install(read_order(folder), folder).message
    assert "labels.json: not in the payload" in message
    assert "model.onnx: " in message
    assert "bytes, expected are" in message


@pytest.mark.parametrize("without", [("golden.npz",), ("model.onnx",)])
def test_a_package_that_cannot_be_proved_is_refused(site: Site, without: tuple[str, ...]) -> None:
    report = site.install(1, a_package(1, without=without))
    assert (report.phase, report.reason, report.active) == (Phase.FAILED, "InvalidPackage", None)


@pytest.mark.parametrize("name", ["assignment.json", "manifest.json", "release.json", ".hidden", "model.onnx"])
def test_a_configuration_cannot_take_a_name_that_is_used(site: Site, name: str) -> None:
    wanted = target(PACKAGES[1], config=config(1))
    assert wanted.config is not None
    wanted = wanted.model_copy(update={"config": wanted.config.model_copy(update={"path": name})})
    folder = site.payload(1)
    (folder / "assignment.json").write_bytes(wanted.to_bytes())
    assert site.installer.install(read_order(folder), folder).reason == "InvalidPackage"


@pytest.mark.parametrize(
    "data", [None, b"", b"{}", b"\xff", b"[" * 5000, b'{"model":"../x","release":"r"}', b" " * 2_000_000]
)
def test_a_folder_that_holds_no_order_is_wrong_use(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "assignment.json").write_bytes(data)
    with pytest.raises(SettingsError, match=r"assignment\.json"):
        read_order(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "labels.json", "manifest.json", "lane.toml"])
def test_bytes_that_changed_where_they_serve_are_replaced_by_the_same_order(site: Site, name: str) -> None:
    site.install(1)
    file = site.directory / "models" / MODEL / "active" / name
    sound = file.read_bytes()
    flip(file)
    says(site.install(1), Phase.VERIFIED, "", active=1, verified=1)
    assert (site.directory / "models" / MODEL / "active" / name).read_bytes() == sound
    site.serves(1)


def test_going_back_to_a_slot_whose_bytes_changed_is_refused(site: Site) -> None:
    site.install(1)
    old = (site.directory / "models" / MODEL / "active").resolve()
    site.install(2)
    flip(old / "labels.json")
    report = site.installer.rollback(MODEL)
    says(report, Phase.FAILED, "NotFound", active=2, verified=2)
    assert "install" in report.message
    site.serves(2)


def test_lost_memory_costs_proofs_not_models(site: Site) -> None:
    site.install(1)
    site.install(2)
    (site.directory / "installer.json").write_text("{ not json")
    report = site.installer.installed()[0]
    assert (report.phase, report.active, report.verified) == (Phase.PROBING, PACKAGES[2].digest, None)
    says(site.installer.prove()[0], Phase.VERIFIED, "", active=2, verified=2)
    says(site.installer.installed()[0], Phase.VERIFIED, "", active=2, verified=2)
    assert (site.directory / "installer.unreadable").exists()


def test_proving_again_tells_a_failure_and_changes_nothing(site: Site) -> None:
    site.install(1)
    site.prober = InProcessProber(SkewedRuntime())
    says(site.installer.prove()[0], Phase.FAILED, "ProbeMismatch", active=1, verified=None)
    site.serves(1)
    says(site.installer.installed()[0], Phase.VERIFIED, "", active=1, verified=1)


def cut_short_after_the_switch(site: Site, version: int) -> None:
    """Leave the device as a kill between the switch and its verification does."""
    link = site.directory / "models" / MODEL / "active"
    kept = (site.directory / "installer.json").read_bytes()
    site.install(version)
    state = site.installer
    assert state.installed()[0].active == PACKAGES[version].digest
    assert link.is_symlink()
    (site.directory / "installer.json").write_bytes(kept)


def test_another_order_first_settles_one_that_was_cut_short(site: Site) -> None:
    """Its unproved model must not overwrite the proved one and then be all that is left."""
    site.install(1)
    cut_short_after_the_switch(site, 2)
    site.prober = FailsAfterSwitch(PACKAGES[2].digest)
    says(
        site.install(3, a_package(3, expected=weights(9)[:1].repeat(5, 0))),
        Phase.FAILED,
        "ProbeMismatch",
        active=1,
        verified=1,
    )
    site.serves(1)


def test_a_model_that_serves_unproved_is_proved_before_it_is_replaced(site: Site) -> None:
    site.install(1)
    cut_short_after_the_switch(site, 2)
    says(site.install(3), Phase.VERIFIED, "", active=3, verified=3)
    says(site.installer.rollback(MODEL), Phase.VERIFIED, "", active=2, verified=2)


GROWS = {"write", "append", "link", "mkdir", "symlink"}
"""What takes space; giving a file a name that is there already takes none."""


def test_a_full_disk_at_any_write_refuses_and_leaves_what_serves(site: Site) -> None:
    """From its operation on, nothing that takes space works any more; then there is space again."""
    operations: list[str] = []
    site.install(1)
    template = site.path / "template"
    shutil.copytree(site.directory, template, symlinks=True)
    site.disk = Disk(operations.append, sync=lambda _: None)
    site.install(2)
    points = [index for index, operation in enumerate(operations) if operation.split(maxsplit=1)[0] in GROWS]
    assert len(points) > 20

    for point in points:
        shutil.rmtree(site.directory)
        shutil.copytree(template, site.directory, symlinks=True)
        done: list[str] = []

        def full(operation: str, done: list[str] = done, point: int = point) -> None:
            done.append(operation)
            if len(done) > point and operation.split(maxsplit=1)[0] in GROWS:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        site.disk = Disk(full, sync=lambda _: None)
        report = site.install(2)
        where = f"full from operation {point} on: {operations[point]}"
        if report.phase is not Phase.VERIFIED:  # at the last ones the model is proved, and only tidying is left
            assert (report.phase, report.reason) == (Phase.FAILED, "NoSpace"), where
            site.serves(1)
        site.disk = Disk(sync=lambda _: None)
        says(site.install(2), Phase.VERIFIED, "", active=2, verified=2)
        site.serves(2)
