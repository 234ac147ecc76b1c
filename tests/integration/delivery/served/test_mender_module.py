"""The update module and the inventory script, as Mender's client runs them, with the real installer."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.core.fleet.twins import Stage
from edgewright_wire.evidence import Evidence, InstalledEvidence
from edgewright_wire.messages import ModelAssignment, Phase
from rigs.base import assignments, work
from rigs.mender import AGENT, REFUSING, MenderRig, set_up
from samples.agent_packages import PackageFiles, a_package, target
from samples.agent_payloads import write_payload


class Device:
    """A root, the scripts, and trees like the client's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "models of lanes"
        self.modules = set_up(self.root, folder / "share")
        self._trees = 0

    def tree(self, *, order: str = "install", version: int = 1, root: Path | None = None) -> Path:
        """What the client lays out for an artifact."""
        self._trees += 1
        tree = self.folder / f"tree-{self._trees}"
        meta = {"model": "reader", "nonce": f"n-{self._trees}", "order": order, "root": str(root or self.root)}
        if order == "install":
            write_payload(tree / "files", package(version), release(version))
        for name in ("header", "tmp"):
            (tree / name).mkdir(parents=True)
        (tree / "header/meta-data").write_text(json.dumps(meta, indent=2))
        return tree

    def call(self, state: str, tree: Path) -> subprocess.CompletedProcess[str]:
        return run(self.modules / "edgewright", state, tree)

    def install(self, version: int) -> None:
        tree = self.tree(version=version)
        for state in ("Download", "ArtifactInstall", "ArtifactCommit", "Cleanup"):
            result = self.call(state, tree)
            assert result.returncode == 0, result.stderr

    def active(self) -> str | None:
        marker = self.root / "models/reader/active/release.json"
        return json.loads(marker.read_text())["assignment"]["release"] if marker.exists() else None

    def inventory(self) -> dict[str, str]:
        result = run(self.folder / "share/inventory/mender-inventory-edgewright")
        assert result.returncode == 0
        return dict(line.split("=", 1) for line in result.stdout.splitlines())


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)


def package(version: int) -> PackageFiles:
    return a_package(version, onnx=True)


def release(version: int) -> ModelAssignment:
    return target(package(version))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[MenderRig]:
    made = MenderRig(tmp_path, "edgewright")
    yield made
    made.close()


def test_what_it_installed_is_shown_by_the_inventory(device: Device) -> None:
    assert set(device.inventory()) == {"edgewright_installed"}
    device.install(1)

    shown = device.inventory()
    evidence = Evidence.from_bytes(shown["edgewright_evidence_reader"].encode())
    assert (evidence.nonce, evidence.model.phase, evidence.model.release) == ("n-1", Phase.VERIFIED, release(1).release)
    (installed,) = InstalledEvidence.from_bytes(shown["edgewright_installed"].encode()).models
    assert installed.verified == package(1).digest

    tree = device.tree(order="remove")
    assert device.call("ArtifactInstall", tree).returncode == 0
    assert device.active() == release(1).release, "it could not be put back, so it goes with the commit"
    assert device.call("ArtifactCommit", tree).returncode == 0
    assert device.active() is None
    gone = Evidence.from_bytes(device.inventory()["edgewright_evidence_reader"].encode())
    assert (gone.nonce, gone.model.phase) == ("n-2", Phase.IDLE)


def test_a_rollback_puts_back_what_was_active_before_this_deployment(device: Device) -> None:
    device.install(1)
    device.install(2)
    tree = device.tree(version=3)
    assert device.call("ArtifactInstall", tree).returncode == 0
    assert device.active() == release(3).release

    for _ in range(2):
        assert device.call("ArtifactRollback", tree).returncode == 0
        assert device.active() == release(2).release


def test_a_rollback_after_the_first_install_ever_takes_it_away(device: Device) -> None:
    tree = device.tree(version=1)
    device.call("ArtifactInstall", tree)
    assert device.call("ArtifactRollback", tree).returncode == 0
    assert device.active() is None


def test_a_rollback_of_what_was_refused_or_never_begun_changes_nothing(device: Device) -> None:
    device.install(1)
    device.install(2)
    never = device.tree(version=3)
    assert device.call("ArtifactRollback", never).returncode == 0
    assert device.active() == release(2).release

    refused = device.tree(version=3)
    (device.root / "installer.toml").write_text(REFUSING)
    result = device.call("ArtifactInstall", refused)
    (device.root / "installer.toml").unlink()
    assert result.returncode == 1
    assert "edgewright: reader was not installed" in result.stderr
    line = next(line for line in result.stderr.splitlines() if line.startswith('{"evidence":'))
    assert Evidence.from_bytes(line.encode()).model.reason == "Incompatible"
    assert device.call("ArtifactRollback", refused).returncode == 0
    assert device.active() == release(2).release

    empty = device.tree(version=3)
    (empty / "files/assignment.json").unlink()
    assert device.call("ArtifactInstall", empty).returncode == 1
    assert device.call("ArtifactRollback", empty).returncode == 0
    assert device.active() == release(2).release


def test_another_root_than_the_fleet_declares_is_refused_with_words(device: Device) -> None:
    result = device.call("ArtifactInstall", device.tree(root=Path("/var/lib/other")))
    assert result.returncode == 1
    assert "delivery.root /var/lib/other" in result.stderr
    assert not device.root.exists()


@pytest.mark.parametrize("order", ["explode", ""])
def test_unknown_orders_are_refused_and_unknown_states_pass(device: Device, order: str) -> None:
    tree = device.tree(order=order)
    assert device.call("ArtifactInstall", tree).returncode == 1
    assert device.call("SomeStateOfALaterClient", tree).returncode == 0
    assert device.call("SupportsRollback", tree).stdout == "Yes\n"
    assert device.call("NeedsArtifactReboot", tree).stdout == "No\n"


def test_what_is_called_off_between_installing_and_committing_is_rolled_back(rig: MenderRig) -> None:
    rig.add("lane-1")
    work(rig)
    before = rig.release(1)
    rig.driver.assign(assignments(1, ["lane-1"], before), rig.configs())
    work(rig)
    rig.driver.assign(assignments(2, ["lane-1"], rig.release(2)), rig.configs())
    while rig.installs("lane-1") < 2:
        assert rig.step()
    twin = rig.grounds.twins.twin("lane-1")
    assert twin is not None
    assert twin.job is not None
    assert twin.job.stage is Stage.INSTALLING
    assert rig.runs("lane-1") == rig.release(2).release

    rig.driver.cancel(["lane-1"])
    work(rig)

    assert rig.runs("lane-1") == before.release
    (report,) = rig.driver.observe({})
    model = report.model("reader")
    assert model is not None
    assert (model.phase, model.reason, model.verified) == (Phase.FAILED, "Cancelled", before.package.digest)


def test_the_command_writes_both_scripts_or_says_what_is_wrong(tmp_path: Path) -> None:
    command: list[str | Path] = [AGENT, "mender-module", "--dir", "/var/lib/it's mine"]
    printed = run(*command, "--print", "edgewright")
    assert printed.returncode == 0
    assert not run(*command, "--into", tmp_path).returncode
    module = tmp_path / "modules/v3/edgewright"
    assert module.read_text() == printed.stdout
    assert os.access(module, os.X_OK)
    assert os.access(tmp_path / "inventory/mender-inventory-edgewright", os.X_OK)
    assert run("sh", "-n", module).returncode == 0
    wrongs: list[tuple[list[str | Path], str]] = [
        ([AGENT, "mender-module", "--dir", "relative"], "absolute"),
        ([*command, "--into", tmp_path / "none"], "install Mender's client first"),
        ([*command, "--agent", tmp_path / "none"], "--agent"),
    ]
    for wrong, words in wrongs:
        result = run(*wrong)
        assert result.returncode == 2
        assert words in result.stderr
