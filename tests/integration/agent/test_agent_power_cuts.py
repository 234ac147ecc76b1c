"""Power cuts: an agent that dies right before any of its durable operations leaves a whole active model, and ends where
an undisturbed one ends.
"""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.http.client import HttpClient
from edgewright_agent.repository.http_transport import HttpRepository
from edgewright_wire.canonical import hex_of
from edgewright_wire.markers import SlotMarker
from edgewright_wire.messages import Phase, Report
from fakes.agent_ports import Device
from harness.power_cuts import copy_home, counting, in_a_child, power_cut
from samples.agent_packages import MODEL, PackageFiles, a_package, assignment, target
from servers.repository_server import serving_elsewhere
from servers.tuf_repository import TufRepository

DEVICE = "dev-1"
CONFIGS = {1: b"threshold = 0.5\n", 2: b"threshold = 0.7\n"}


class Scene:
    """A device that runs version 1, verified; version 2 and a new configuration are assigned.

    Its repository is in a directory, and behind HTTP as soon as ``url`` is set.
    """

    def __init__(self, path: Path) -> None:
        self.url = ""
        self.repository = TufRepository(path / "repository")
        self.packages = {version: a_package(version) for version in CONFIGS}
        for version, config in CONFIGS.items():
            self.repository.add_package(self.packages[version])
            self.repository.add_blob(config)
        self.template = path / "template"
        self._assign(1)
        Device(self.template / "device", self.repository.path, self.repository.root).poll()
        self._assign(2)

    def _assign(self, version: int) -> None:
        wanted = target(self.packages[version], config=CONFIGS[version])
        self.repository.assign(assignment(DEVICE, version, wanted))

    def device(self, home: Path, disk: Disk | None = None) -> Device:
        reader = HttpRepository(self.url, HttpClient("RepositoryUnreachable", 20.0)) if self.url else None
        return Device(home / "device", self.repository.path, self.repository.root, disk=disk, reader=reader)

    def check_active(self, home: Path) -> str:
        """The active slot is whole, from model to configuration of one version; returns its digest."""
        slot = (home / "device" / "models" / MODEL / "active").resolve(strict=True)
        contents = SlotMarker.from_bytes((slot / "release.json").read_bytes())
        version = next(v for v, p in self.packages.items() if p.digest == contents.assignment.package.digest)
        package = self.packages[version]
        assert (slot / "manifest.json").read_bytes() == package.manifest
        assert (slot / "lane.toml").read_bytes() == CONFIGS[version]
        for name in ("model.onnx", "golden.npz", "labels.json"):
            assert f"sha256:{hashlib.sha256((slot / name).read_bytes()).hexdigest()}" in package.blobs
        return package.digest


def files_of(home: Path) -> dict[str, bytes]:
    """Everything on the device but what python-tuf and time make differ."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted((home / "device").rglob("*"))
        if path.is_file() and path.name != "state.json" and "tuf" not in path.parts
    }


@pytest.fixture(scope="module", params=["directory", "http"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("power"))
    if request.param == "directory":
        yield scene
        return
    with serving_elsewhere(scene.repository.path) as scene.url:
        yield scene


@pytest.fixture(scope="module")
def undisturbed(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, bytes]]:
    """The durable operations of one whole update, and what it ends with."""
    home = copy_home(scene.template, tmp_path_factory.mktemp("undisturbed"))
    operations: list[str] = []
    device = scene.device(home, counting(operations))
    assert device.poll().models[0].verified == scene.packages[2].digest
    return operations, files_of(home)


SHARDS = 4


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_point_of_an_update_survives_a_power_cut(
    tmp_path: Path, scene: Scene, undisturbed: tuple[list[str], dict[str, bytes]], shard: int
) -> None:
    operations, ends_with = undisturbed
    assert len(operations) > 40
    for point in range(shard, len(operations), SHARDS):
        home = copy_home(scene.template, tmp_path / str(point))
        where = f"power cut before operation {point}: {operations[point]}"
        assert in_a_child(partial(_update, scene, home, power_cut(point))) == -signal.SIGKILL, where
        scene.check_active(home)

        assert in_a_child(partial(_update, scene, home, Disk(sync=lambda _: None))) == 0, where
        assert scene.check_active(home) == scene.packages[2].digest, where
        report = Report.from_bytes((home / "reports" / f"{DEVICE}.json").read_bytes())
        assert (report.models[0].phase, report.models[0].verified) == (Phase.VERIFIED, scene.packages[2].digest), where
        assert files_of(home) == ends_with, where


def _poll(scene: Scene, home: Path, disk: Disk) -> None:
    scene.device(home, disk).poll()


def _update(scene: Scene, home: Path, disk: Disk) -> None:
    _poll(scene, home, disk)
    scene.check_active(home)


def test_a_first_install_survives_power_cuts_too(tmp_path: Path, scene: Scene) -> None:
    operations: list[str] = []
    scene.device(tmp_path / "whole", counting(operations)).poll()
    for point in range(0, len(operations), 3):
        home = tmp_path / str(point)
        assert in_a_child(partial(_poll, scene, home, power_cut(point))) == -signal.SIGKILL
        assert scene.device(home).poll().models[0].verified == scene.packages[2].digest
        assert scene.check_active(home) == scene.packages[2].digest


def test_trusted_metadata_survives_power_cuts(tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """python-tuf writes it by itself: the power is cut before each of its own steps on the disk."""
    steps: list[str] = []
    cut_at, parent = -1, os.getpid()

    def stepping(name: str, step: Callable[..., None]) -> Callable[..., None]:
        def stepped(*paths: object, **options: object) -> None:
            if any("/tuf/" in str(path) for path in paths):
                if len(steps) == cut_at and os.getpid() != parent:
                    os.kill(os.getpid(), signal.SIGKILL)
                steps.append(name)
            step(*paths, **options)

        return stepped

    for name in ("replace", "symlink", "remove"):
        monkeypatch.setattr(os, name, stepping(name, getattr(os, name)))
    fast = Disk(sync=lambda _: None)
    home = copy_home(scene.template, tmp_path / "whole")
    steps.clear()
    _poll(scene, home, fast)
    count = len(steps)
    assert count > 5
    for cut_at in range(count):
        home = copy_home(scene.template, tmp_path / str(cut_at))
        steps.clear()
        assert in_a_child(partial(_poll, scene, home, fast)) == -signal.SIGKILL
        scene.check_active(home)
        assert scene.device(home).poll().models[0].verified == scene.packages[2].digest


def test_a_damaged_part_costs_a_fetch_not_a_model(tmp_path: Path, scene: Scene) -> None:
    """After a power cut a file system may show a grown file whose last blocks were never written."""
    home = copy_home(scene.template, tmp_path / "home")
    package: PackageFiles = scene.packages[2]
    largest = max(package.blobs, key=lambda digest: len(package.blobs[digest]))
    part = home / "device" / "blobs" / f"{hex_of(largest)}.part"
    part.write_bytes(b"\0" * (len(package.blobs[largest]) - 1))

    device = scene.device(home)
    device.poll()
    device.sleep(10.0)

    assert device.poll().models[0].verified == package.digest
