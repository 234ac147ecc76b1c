"""A published repository without bounds: endless files, wrong clocks, full disks; the agent gets over each."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import Snapshot, Targets, Timestamp

from clients import require_client, require_root
from edgewright_agent.durable import Disk
from edgewright_wire.layout import blob_path
from edgewright_wire.messages import Phase, Report
from fakes.agent_ports import MemoryDrop
from harness.power_cuts import counting
from paths import TESTS
from samples.agent_packages import a_package
from servers.repository_server import serving
from servers.tuf_repository import TufRepository
from worlds.tuf_scene import BIN, DEVICE, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    repository = TufRepository(tmp_path / "repository")
    with serving(repository.path) as (url, server):
        yield Scene(tmp_path, repository, url, server)


def endless(data: bytes) -> Iterator[bytes]:
    """What is there, and then without an end."""
    yield data
    while True:
        yield b" " * 65536


LONGEST = {Timestamp.type: 16_384, Snapshot.type: 2_000_000, "2.root": 512_000}
"""Bytes python-tuf takes of a file whose length nobody signed; of others 5 MB."""
IN_FLIGHT = 24_000_000
"""Bytes that may be in the buffers of both sides' kernels."""


@pytest.mark.parametrize("role", ["2.root", Timestamp.type, Snapshot.type, Targets.type, BIN])
def test_metadata_without_an_end_is_cut_off(scene: Scene, role: str) -> None:
    scene.update()
    path = f"metadata/{scene.file(role).name}" if role != "2.root" else "metadata/2.root.json"
    scene.server.lies[path] = endless
    scene.refuses("DigestMismatch")
    assert max(asked.sent for asked in scene.server.asked) < LONGEST.get(role, 5_000_000) + IN_FLIGHT
    scene.server.lies.clear()
    scene.recovers()


def test_an_assignment_without_an_end_is_cut_off(scene: Scene) -> None:
    scene.update()
    for path in (scene.repository.path / "targets" / "assignments").iterdir():
        scene.server.lies[f"targets/assignments/{path.name}"] = endless
    scene.refuses("DigestMismatch")
    assert max(asked.sent for asked in scene.server.asked) < IN_FLIGHT
    scene.server.lies.clear()
    scene.recovers()


def test_a_manifest_and_a_blob_without_an_end_are_cut_off(scene: Scene) -> None:
    scene.update()
    package = a_package(5)
    for folder in ("targets/packages", "blobs/sha256"):
        names = [path.name for path in (scene.repository.path / folder).iterdir()]
        scene.server.lies = {f"{folder}/{name}": endless for name in names}
        scene.device.sleep(400.0)
        model = scene.device.poll().models[0]
        assert (model.phase, model.reason, model.active) == (Phase.FETCHING, "DigestMismatch", a_package(1).digest)
        assert max(asked.sent for asked in scene.server.asked) < IN_FLIGHT
    scene.serves(1)
    assert not list((scene.device.directory / "blobs").glob("*.part"))
    assert any(blob_path(digest) in scene.server.lies for digest in package.blobs)
    scene.server.lies.clear()
    scene.recovers()


def test_a_compressed_bomb_is_not_unpacked(scene: Scene) -> None:
    """The agent asks for bytes as they are; what comes is counted as it comes."""
    scene.update()
    scene.server.lies["metadata/timestamp.json"] = lambda _data: [b"\x1f\x8b" + b"\0" * 1000]
    scene.refuses("MetadataInvalid")
    scene.server.lies.clear()
    scene.recovers()


@pytest.fixture
def process(tmp_path: Path, scene: Scene) -> Callable[[str], tuple[int, Report]]:
    """Run the agent once as a process of its own, with its clock set off by so much; gives what it reports."""
    faketime = require_client("faketime")
    home = tmp_path / "own"
    home.mkdir()
    (tmp_path / "root.json").write_bytes(scene.repository.root)
    agent = [sys.executable, "-m", "edgewright_agent"]
    where = ["--repository", scene.url, "--reports", str(tmp_path / "drop"), "--root", str(tmp_path / "root.json")]
    runtime = ["--runtime", "fakes.agent_runtimes:LinearRuntime", "--python-path", str(TESTS)]
    subprocess.run([*agent, "init", "--dir", str(home), "--device", DEVICE, *where, *runtime], check=True)

    def run(offset: str) -> tuple[int, Report]:
        command = [faketime, "-f", offset, *agent, "run", "--config", str(home / "agent.toml"), "--once"]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert b"Traceback" not in done.stderr
        sys.stderr.write(done.stderr.decode())  # shown with a failure
        return done.returncode, Report.from_bytes((tmp_path / "drop" / f"{DEVICE}.json").read_bytes())

    return run


def test_a_clock_years_ahead_is_told_as_the_likely_reason(
    scene: Scene, process: Callable[[str], tuple[int, Report]]
) -> None:
    assert process("+0d")[0] == 0
    scene.update()
    code, report = process("+3650d")
    assert code == 1
    assert report.reason == "MetadataExpired"
    assert "is the device's clock right" in report.message
    assert report.models[0].verified == a_package(1).digest

    code, right = process("+0d")
    assert (code, right.reason, right.models[0].verified) == (0, "", a_package(5).digest)
    assert right.sequence > report.sequence, "the next report is the newer one whatever the clock did"


def test_a_clock_years_behind_stops_no_update_and_no_report(
    scene: Scene, process: Callable[[str], tuple[int, Report]]
) -> None:
    """A device that wakes up in another decade, before it has asked for the time, is not cut off."""
    code, report = process("+0d")
    assert code == 0
    scene.update()
    code, behind = process("-3650d")
    assert (code, behind.reason, behind.models[0].verified) == (0, "", a_package(5).digest)
    assert behind.sent_at < report.sent_at
    assert behind.sequence > report.sequence


GROWS = {"write", "append", "link", "mkdir", "symlink"}
SHARDS = 3


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_disk_that_fills_up_at_any_write_is_reported_and_got_over(scene: Scene, shard: int) -> None:
    """From its operation on, nothing that takes space works any more; then there is space again."""
    scene.update()
    template = scene.path / "template"
    shutil.copytree(scene.device.directory, template, symlinks=True)
    operations: list[str] = []
    drop = MemoryDrop()
    scene.device = scene.start(counting(operations), drop)
    scene.device.poll_to(drop)
    points = [index for index, operation in enumerate(operations) if operation.split(maxsplit=1)[0] in GROWS]
    assert len(points) > 15

    for point in points[shard::SHARDS]:
        shutil.rmtree(scene.device.directory)
        shutil.copytree(template, scene.device.directory, symlinks=True)
        done: list[str] = []
        full = [True]

        def refuse(operation: str, done: list[str] = done, full: list[bool] = full, point: int = point) -> None:
            done.append(operation)
            if full[0] and len(done) > point and operation.split(maxsplit=1)[0] in GROWS:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        drop = MemoryDrop()
        scene.device = scene.start(Disk(refuse, sync=lambda _: None), drop)
        report = scene.device.poll_to(drop)
        where = f"full from operation {point} on: {operations[point]}"
        model = report.models[0]
        if (report.reason, model.phase) != ("", Phase.VERIFIED):  # its last operations come after the proof
            assert "NoSpace" in {report.reason, model.reason}, where
            assert model.active in {a_package(1).digest, a_package(5).digest}, where
            scene.serves(1 if model.active == a_package(1).digest else 5)

        full[0] = False
        scene.device.sleep(400.0)
        report = scene.device.poll_to(drop)
        assert (report.reason, report.models[0].verified) == ("", a_package(5).digest), where


def test_a_disk_that_is_really_full_is_reported_and_got_over(tmp_path: Path) -> None:
    """Nothing is left, not even for trusted metadata and temporary files."""
    require_root("mount a small disk", "unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        repository = TufRepository(tmp_path / "repository")
        with serving(repository.path) as (url, server):
            scene = Scene(disk, repository, url, server)
            drop = MemoryDrop()
            scene.device = scene.start(drop=drop)
            scene.device.poll_to(drop)
            scene.update()
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 512)
                except OSError as error:
                    assert error.errno == errno.ENOSPC
            report = scene.device.poll_to(drop)
            assert (report.reason, report.models[0].verified) == ("NoSpace", a_package(1).digest)
            scene.serves(1)

            ballast.unlink()
            scene.device.sleep(400.0)
            report = scene.device.poll_to(drop)
            assert (report.reason, report.models[0].verified) == ("", a_package(5).digest)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
