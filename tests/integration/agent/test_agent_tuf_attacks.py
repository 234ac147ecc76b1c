"""Attacks on a published repository, over real HTTP: the agent refuses each by name, goes on serving what it has,
fetches no more than it must, and takes up the next honest state.

The attacker has the web server, and in some tests the online key too, which signs timestamp, snapshot, assignments and
bins.
"""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Snapshot, SuccinctRoles, Targets, Timestamp

from clients import require_client, require_root
from edgewright_agent.durable import Disk
from edgewright_agent.handle import ModelHandle
from edgewright_agent.http.client import HttpClient
from edgewright_agent.repository.http_transport import HttpRepository
from edgewright_wire.layout import ASSIGNMENTS_ROLE, BIN_PREFIX, PACKAGES_ROLE, assignment_target, blob_path
from edgewright_wire.messages import Phase, Report
from fakes.agent_ports import Device, MemoryDrop
from fakes.agent_runtimes import LinearRuntime
from harness.power_cuts import counting
from paths import TESTS
from samples.agent_packages import FEATURES, MODEL, a_package, assignment, target, weights
from servers.repository_server import Repository, serving
from servers.tuf_repository import BITS, TufRepository

DEVICE = "dev-1"
BIN = SuccinctRoles([], 1, BITS, BIN_PREFIX).get_role_for_target(assignment_target(DEVICE))
ROLES = (Timestamp.type, Snapshot.type, Targets.type, PACKAGES_ROLE, ASSIGNMENTS_ROLE, BIN)


class Scene:
    """A device that runs package 1, assigned as 2, from a repository behind HTTP."""

    def __init__(self, path: Path, repository: TufRepository, url: str, server: Repository) -> None:
        self.path = path
        self.repository = repository
        self.server = server
        self.url = url
        self.repository.add_package(package := a_package(1))
        self.repository.assign(assignment(DEVICE, 2, target(package)))
        self.device = self.start()
        assert self.device.poll().models[0].verified == package.digest

    def start(self, disk: Disk | None = None, drop: MemoryDrop | None = None) -> Device:
        """A new process on the same device."""
        client = HttpClient("RepositoryUnreachable", 10.0)
        return Device(
            self.path / "device",
            self.repository.path,
            self.repository.root,
            reader=HttpRepository(self.url, client),
            disk=disk,
            reports=drop,
        )

    def file(self, role: str, version: int | None = None) -> Path:
        """Where the repository keeps a role, its newest version or another one."""
        prefix = "" if role == Timestamp.type else f"{version or self.repository.version}."
        return self.repository.path / "metadata" / f"{prefix}{role}.json"

    def resign(self, role: str, change: Callable[..., None], signer: CryptoSigner | None = None) -> None:
        """Change a role's newest version with a key, the one of whoever publishes if no other is given."""
        metadata = Metadata.from_bytes(self.file(role).read_bytes())
        change(metadata.signed)
        metadata.sign(signer or self.repository.online)
        self.file(role).write_bytes(metadata.to_bytes())

    def update(self, version: int = 5) -> None:
        """Publish an honest update."""
        self.repository.add_package(package := a_package(version))
        self.repository.assign(assignment(DEVICE, version, target(package)))

    def refuses(self, reason: str) -> Report:
        """The reason is reported, what serves goes on serving, and nothing else is believed."""
        report = self.device.poll()
        assert report.reason == reason, (report.reason, report.message)
        assert report.message
        assert report.assignment_version == 2
        assert (report.models[0].phase, report.models[0].verified) == (Phase.VERIFIED, a_package(1).digest)
        self.serves(1)
        return report

    def serves(self, version: int) -> None:
        inputs = np.ones((1, FEATURES), np.float32)
        outputs = ModelHandle(self.device.directory, MODEL, LinearRuntime()).run(inputs)
        np.testing.assert_allclose(outputs, inputs @ weights(version), rtol=1e-5)

    def recovers(self, version: int = 9) -> None:
        self.update(version)
        self.device.sleep(400.0)
        report = self.device.poll()
        assert (report.reason, report.assignment_version) == ("", version), report.message
        assert report.models[0].verified == a_package(version).digest


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    repository = TufRepository(tmp_path / "repository")
    with serving(repository.path) as (url, server):
        yield Scene(tmp_path, repository, url, server)


# ── going back ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("restart", [False, True])
def test_a_repository_as_it_was_before_is_refused(scene: Scene, tmp_path: Path, restart: bool) -> None:
    before = scene.repository.copy(tmp_path / "before")
    scene.repository.publish()
    after = scene.repository.copy(tmp_path / "after")
    scene.device.poll()
    scene.repository.replace_by(before)
    if restart:
        scene.device = scene.start()
    scene.refuses("MetadataRollback")
    scene.repository.replace_by(after)
    scene.recovers()


@pytest.mark.parametrize("role", [Snapshot.type, Targets.type, BIN])
def test_an_older_file_under_a_newer_name_is_refused(scene: Scene, role: str) -> None:
    older = scene.file(role).read_bytes()
    scene.update()
    scene.file(role).write_bytes(older)
    scene.refuses("MetadataRollback")
    scene.recovers()


@pytest.mark.parametrize("role", [Targets.type, PACKAGES_ROLE, ASSIGNMENTS_ROLE, BIN])
def test_with_the_online_key_no_role_can_be_taken_back(scene: Scene, role: str) -> None:
    """A snapshot that is signed, and names an older version of a role than the device has seen."""
    scene.repository.publish()
    scene.device.poll()
    scene.update()

    def take_back(snapshot: Snapshot) -> None:
        snapshot.meta[f"{role}.json"].version = 1

    scene.resign(Snapshot.type, take_back)
    scene.refuses("MetadataRollback")
    scene.recovers()


def test_with_the_online_key_the_snapshot_cannot_be_taken_back(scene: Scene) -> None:
    scene.repository.publish()
    scene.device.poll()
    scene.update()

    def take_back(timestamp: Timestamp) -> None:
        timestamp.snapshot_meta.version = 1

    scene.resign(Timestamp.type, take_back)
    scene.refuses("MetadataRollback")
    scene.recovers()


def test_with_the_online_key_an_older_assignment_is_refused(scene: Scene) -> None:
    scene.repository.assign(assignment(DEVICE, 1, target(a_package(1))))
    scene.refuses("AssignmentRollback")
    scene.recovers()


# ── standing still, mixing, signing ───────────────────────────────────────────────────────────────────────────────


def test_a_repository_frozen_by_its_server_is_noticed(scene: Scene, tmp_path: Path) -> None:
    """The server hides an update behind what is still signed; that ends when the timestamp's life ends."""
    scene.repository.life = timedelta(seconds=30)
    scene.repository.publish()
    assert scene.device.poll().reason == ""
    frozen = scene.repository.copy(tmp_path / "frozen")
    scene.repository.life = timedelta(days=1)
    scene.update()
    scene.repository.replace_by(frozen)

    # Each poll lets seconds of the device's clock pass.
    until = time.monotonic() + 30
    while scene.device.poll().reason == "" and time.monotonic() < until:
        pass
    scene.refuses("MetadataExpired")
    scene.recovers()


@pytest.mark.parametrize("role", [Snapshot.type, Targets.type, BIN])
def test_files_that_do_not_belong_together_are_refused(scene: Scene, tmp_path: Path, role: str) -> None:
    """One file of a newer state among those of an older one; each is signed."""
    scene.update(5)
    older, version = scene.repository.copy(tmp_path / "older"), scene.repository.version
    scene.update(6)
    newer = scene.file(role).read_bytes()
    scene.repository.replace_by(older)
    scene.file(role, version).write_bytes(newer)
    scene.refuses("MetadataRollback")
    scene.recovers()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_signed_with_another_key_is_refused(scene: Scene, role: str) -> None:
    scene.update()
    scene.resign(role, lambda _signed: None, CryptoSigner.generate_ed25519())
    if role == PACKAGES_ROLE:
        # Only who needs a package looks at what its role signs.
        scene.device.poll()
        report = scene.device.reported()
        assert (report.models[0].reason, report.models[0].verified) == ("MetadataUntrusted", a_package(1).digest)
        scene.serves(1)
    else:
        scene.refuses("MetadataUntrusted")
    scene.recovers()


@pytest.mark.parametrize("role", ROLES)
def test_an_expired_role_is_refused(scene: Scene, role: str) -> None:
    scene.update()
    signers = {Targets.type: scene.repository.offline, PACKAGES_ROLE: scene.repository.packages_signer}

    def expire(signed: Timestamp | Snapshot | Targets) -> None:
        signed.expires = datetime.now(UTC) - timedelta(hours=1)

    scene.resign(role, expire, signers.get(role))
    if role == PACKAGES_ROLE:
        scene.device.poll()
        assert scene.device.reported().models[0].reason == "MetadataExpired"
        scene.serves(1)
    else:
        scene.refuses("MetadataExpired")
    scene.recovers()


# ── sizes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── the clock ─────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── the disk ──────────────────────────────────────────────────────────────────────────────────────────────────────

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
