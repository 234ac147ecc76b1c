"""Power cuts: an installer that dies right before any of its durable operations leaves the old or the new model active,
whole; the same order, given again, ends where an undisturbed one ends.
"""

import hashlib
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.models.installer import Installer
from edgewright_agent.models.payload import read_order
from edgewright_agent.probing.in_process import InProcessProber
from edgewright_agent.probing.prober import Prober
from edgewright_wire.markers import SlotMarker
from edgewright_wire.messages import ModelReport, Phase
from fakes.agent_probers import FailsAfterSwitch
from fakes.agent_runtimes import LinearRuntime
from harness.power_cuts import copy_home, counting, in_a_child, power_cut
from samples.agent_packages import MODEL, a_package, target
from samples.agent_payloads import write_payload

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PACKAGES = {version: a_package(version) for version in (1, 2, 3)}
CONFIGS = {version: f"threshold = 0.{version}\n".encode() for version in PACKAGES}
SOUND = InProcessProber(LinearRuntime())


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("payloads")
    return {
        version: write_payload(
            folder / str(version), package, target(package, config=CONFIGS[version]), config=CONFIGS[version]
        )
        for version, package in PACKAGES.items()
    }


Order = Callable[[Installer], ModelReport]


def install(payload: Path, installer: Installer) -> ModelReport:
    return installer.install(read_order(payload), payload)


def rollback(installer: Installer) -> ModelReport:
    return installer.rollback(MODEL)


def uninstall(installer: Installer) -> ModelReport:
    return installer.uninstall(MODEL)


def carry_out(order: Order, home: Path, disk: Disk, prober: Prober = SOUND) -> ModelReport:
    """A process of its own would do this."""
    directory = home / "device"
    directory.mkdir(parents=True, exist_ok=True)
    return order(Installer(directory, disk, prober, lambda: NOW))


def active(home: Path) -> int | None:
    """Which version serves: whole, from model to configuration; None when none does."""
    link = home / "device" / "models" / MODEL / "active"
    if not link.is_symlink():
        return None
    slot = link.resolve(strict=True)
    contents = SlotMarker.from_bytes((slot / "release.json").read_bytes())
    version = next(v for v, p in PACKAGES.items() if p.digest == contents.assignment.package.digest)
    assert (slot / "manifest.json").read_bytes() == PACKAGES[version].manifest
    assert (slot / "lane.toml").read_bytes() == CONFIGS[version]
    for name in ("model.onnx", "golden.npz", "labels.json"):
        assert f"sha256:{hashlib.sha256((slot / name).read_bytes()).hexdigest()}" in PACKAGES[version].blobs
    return version


def files_of(home: Path) -> dict[str, bytes]:
    """All that is left on the device but the latency of a probe; of a link, where it leads."""
    return {
        str(path.relative_to(home)): str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for path in sorted((home / "device").rglob("*"))
        if path.is_symlink() or (path.is_file() and path.name != "installer.json")
    }


def survives(
    tmp_path: Path,
    template: Path,
    order: Order,
    *,
    old: int | None,
    new: int | None,
    tried: int | None = None,
    prober: Prober = SOUND,
) -> None:
    """Cut the power at every point of an order; ``tried`` is what serves for as long as its samples run there."""
    operations: list[str] = []
    whole = copy_home(template, tmp_path / "whole")
    expected = carry_out(order, whole, counting(operations), prober)
    assert active(whole) == new
    assert len(operations) > 5
    for point, operation in enumerate(operations):
        home = copy_home(template, tmp_path / str(point))
        where = f"power cut before operation {point}: {operation}"
        assert in_a_child(partial(carry_out, order, home, power_cut(point), prober)) == -signal.SIGKILL, where
        assert active(home) in {old, new, tried}, where

        report = carry_out(order, home, Disk(sync=lambda _: None), prober)
        assert (report.phase, report.active, report.verified, report.release, report.reason) == (
            expected.phase,
            expected.active,
            expected.verified,
            expected.release,
            expected.reason,
        ), where
        assert active(home) == new, where
        assert files_of(home) == files_of(whole), where


@pytest.fixture(scope="module")
def template(payloads: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs version 2, and 1 before it."""
    home = tmp_path_factory.mktemp("template")
    for version in (1, 2):
        report = carry_out(partial(install, payloads[version]), home, Disk(sync=lambda _: None))
        assert report.phase is Phase.VERIFIED
    return home


def test_a_first_install(tmp_path: Path, payloads: dict[int, Path]) -> None:
    survives(tmp_path, tmp_path / "nothing", partial(install, payloads[1]), old=None, new=1)


def test_an_update(tmp_path: Path, template: Path, payloads: dict[int, Path]) -> None:
    survives(tmp_path, template, partial(install, payloads[3]), old=2, new=3)


def test_a_rollback(tmp_path: Path, template: Path) -> None:
    survives(tmp_path, template, rollback, old=2, new=1)


def test_a_removal(tmp_path: Path, template: Path) -> None:
    survives(tmp_path, template, uninstall, old=2, new=None)


def test_an_update_that_fails_where_it_serves(tmp_path: Path, template: Path, payloads: dict[int, Path]) -> None:
    """Wherever the power fails, the same order ends with the old model active."""
    prober = FailsAfterSwitch(PACKAGES[3].digest)
    survives(tmp_path, template, partial(install, payloads[3]), old=2, new=2, tried=3, prober=prober)


def test_a_first_install_that_fails_where_it_serves(tmp_path: Path, payloads: dict[int, Path]) -> None:
    prober = FailsAfterSwitch(PACKAGES[1].digest)
    survives(tmp_path, tmp_path / "nothing", partial(install, payloads[1]), old=None, new=None, tried=1, prober=prober)
