"""Attacks on a published repository, over real HTTP: the agent refuses each by name, goes on serving what it has,
fetches no more than it must, and takes up the next honest state.

The attacker has the web server, and in some tests the online key too, which signs timestamp, snapshot, assignments and
bins.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Snapshot, Targets, Timestamp

from edgewright_wire.layout import ASSIGNMENTS_ROLE, PACKAGES_ROLE
from samples.agent_packages import a_package, assignment, target
from servers.repository_server import serving
from servers.tuf_repository import TufRepository
from worlds.tuf_scene import BIN, DEVICE, Scene

ROLES = (Timestamp.type, Snapshot.type, Targets.type, PACKAGES_ROLE, ASSIGNMENTS_ROLE, BIN)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    repository = TufRepository(tmp_path / "repository")
    with serving(repository.path) as (url, server):
        yield Scene(tmp_path, repository, url, server)


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
