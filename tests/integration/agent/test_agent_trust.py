"""A repository that lies, is stale or is gone: the agent says which, and goes on serving what it has."""

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgewright_wire.messages import Phase
from fakes.agent_ports import Device, HandClock
from samples.agent_packages import a_package, assignment, target
from servers.tuf_repository import TufRepository

DEVICE = "dev-1"


@pytest.fixture
def repository(tmp_path: Path) -> TufRepository:
    return TufRepository(tmp_path / "repository")


@pytest.fixture
def device(tmp_path: Path, repository: TufRepository) -> Device:
    """Runs version 1, assigned as 2."""
    made = Device(tmp_path / "device", repository.path, repository.root)
    repository.add_package(package := a_package(1))
    repository.assign(assignment(DEVICE, 2, target(package)))
    assert made.poll().models[0].phase is Phase.VERIFIED
    return made


def refuses(device: Device, reason: str) -> None:
    """The reason is reported, and nothing else changed."""
    before = device.reported()
    report = device.poll()
    assert report.reason == reason, (report.reason, report.message)
    assert report.message
    assert report.models == before.models
    assert report.assignment_version == 2


def recovers(device: Device, repository: TufRepository) -> None:
    repository.add_package(package := a_package(9))
    repository.assign(assignment(DEVICE, 9, target(package)))
    device.sleep(60.0)
    report = device.poll()
    assert (report.reason, report.assignment_version) == ("", 9)
    assert report.models[0].verified == package.digest


def test_an_older_state_of_the_repository_is_refused(tmp_path: Path, device: Device, repository: TufRepository) -> None:
    older = repository.copy(tmp_path / "older")
    repository.publish()
    newer = repository.copy(tmp_path / "newer")
    device.poll()
    repository.replace_by(older)
    refuses(device, "MetadataRollback")
    repository.replace_by(newer)
    recovers(device, repository)


def test_an_older_state_is_refused_after_a_restart_too(
    tmp_path: Path, device: Device, repository: TufRepository
) -> None:
    older = repository.copy(tmp_path / "older")
    repository.publish()
    device.poll()
    repository.replace_by(older)
    again = Device(device.directory, repository.path, repository.root, clock=device.clock)
    refuses(again, "MetadataRollback")


def test_expired_metadata_is_refused(device: Device, repository: TufRepository) -> None:
    repository.life = timedelta(seconds=-1)
    repository.publish()
    refuses(device, "MetadataExpired")
    repository.life = timedelta(days=1)
    recovers(device, repository)


def test_a_repository_nobody_refreshes_is_noticed_though_nothing_changes(
    device: Device, repository: TufRepository
) -> None:
    repository.life = timedelta(seconds=30)
    repository.publish()
    before = device.poll()
    assert before.reason == ""

    # Each poll lets seconds of the device's clock pass.
    until = time.monotonic() + 30
    while (report := device.poll()).reason == "" and time.monotonic() < until:
        pass
    assert report.reason == "MetadataExpired"
    assert report.models == before.models


class ClockOf1971(HandClock):
    """The clock of a device that has just been switched on, and has no battery."""

    def now(self) -> datetime:
        return datetime(1971, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds - 1000.0)


def test_a_clock_that_goes_back_to_1971_believes_nothing_that_has_expired(
    device: Device, repository: TufRepository
) -> None:
    repository.life = timedelta(seconds=20)
    repository.publish()
    assert device.poll().reason == ""
    again = Device(device.directory, repository.path, repository.root, clock=ClockOf1971())
    assert again.poll().reason == ""
    again.sleep(600)
    assert again.poll().reason == "MetadataExpired"
    repository.life = timedelta(days=1)
    recovers(again, repository)


def test_a_clock_that_was_far_ahead_leaves_no_floor_that_nothing_can_reach(
    device: Device, repository: TufRepository
) -> None:
    repository.life = timedelta(days=1)
    repository.publish()
    ahead = HandClock()
    ahead.seconds += timedelta(days=27_000).total_seconds()
    later = Device(device.directory, repository.path, repository.root, clock=ahead)
    assert later.poll().reason == "MetadataExpired"
    again = Device(device.directory, repository.path, repository.root)
    assert again.poll().reason == ""


def test_keys_this_device_does_not_trust_are_refused(device: Device, repository: TufRepository) -> None:
    own = repository.online
    repository.online = CryptoSigner.generate_ed25519()
    repository.publish()
    refuses(device, "MetadataUntrusted")
    repository.online = own
    recovers(device, repository)


def test_the_online_key_cannot_bring_a_package_of_its_own(device: Device, repository: TufRepository) -> None:
    """Whoever steals the online key chooses among signed packages, no more."""
    repository.packages_signer, own = repository.online, repository.packages_signer
    repository.add_package(package := a_package(5))
    # The top-level delegation is signed by the offline key, which the thief has not.
    repository.offline, offline = CryptoSigner.generate_ed25519(), repository.offline
    repository.assign(assignment(DEVICE, 3, target(package)))
    refuses(device, "MetadataUntrusted")
    repository.packages_signer, repository.offline = own, offline
    recovers(device, repository)


def test_a_half_published_repository_is_no_disaster(device: Device, repository: TufRepository) -> None:
    repository.publish()
    snapshot = repository.path / "metadata" / f"{repository.version}.snapshot.json"
    hidden = snapshot.with_suffix(".hidden")
    snapshot.rename(hidden)
    refuses(device, "NotFound")
    hidden.rename(snapshot)
    recovers(device, repository)


def test_metadata_that_is_no_metadata_is_refused(device: Device, repository: TufRepository) -> None:
    timestamp = repository.path / "metadata" / "timestamp.json"
    sound = timestamp.read_bytes()
    timestamp.write_bytes(b"<html>captive portal</html>")
    refuses(device, "MetadataInvalid")
    timestamp.write_bytes(b"x" * 10_000_000)
    device.sleep(60.0)
    refuses(device, "DigestMismatch")
    timestamp.write_bytes(sound)
    recovers(device, repository)


def test_a_share_that_is_gone_is_unreachable(tmp_path: Path, device: Device, repository: TufRepository) -> None:
    away = shutil.move(repository.path, tmp_path / "away")
    refuses(device, "RepositoryUnreachable")
    shutil.move(away, repository.path)
    recovers(device, repository)


def test_an_older_assignment_freshly_signed_is_refused(device: Device, repository: TufRepository) -> None:
    repository.add_package(package := a_package(3))
    repository.assign(assignment(DEVICE, 1, target(package)))
    refuses(device, "AssignmentRollback")
    recovers(device, repository)


def test_an_assignment_for_someone_else_is_refused(device: Device, repository: TufRepository) -> None:
    repository.assign_bytes(DEVICE, assignment("dev-2", 3).to_bytes())
    repository.publish()
    refuses(device, "WrongDevice")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"device":"dev-1","version":"x"}', b'{"schemaVersion":2}', b"\xff"])
def test_an_assignment_that_cannot_be_read_is_refused(device: Device, repository: TufRepository, data: bytes) -> None:
    repository.assign_bytes(DEVICE, data)
    repository.publish()
    refuses(device, "InvalidAssignment")
    recovers(device, repository)


def test_a_device_that_nothing_is_assigned_to_reports_and_waits(tmp_path: Path, repository: TufRepository) -> None:
    repository.publish()
    report = Device(tmp_path / "new", repository.path, repository.root, device="dev-9").poll()
    assert (report.assignment_version, report.models, report.reason) == (0, (), "")


def test_reports_that_cannot_be_delivered_hold_up_nothing(tmp_path: Path, repository: TufRepository) -> None:
    device = Device(tmp_path / "device", repository.path, repository.root)
    device.reports.write_bytes(b"a file where the drop should be")
    repository.add_package(package := a_package(1))
    repository.assign(assignment(DEVICE, 1, target(package)))
    device.sleep(3.0)
    device.work()
    assert device.agent.report().models[0].phase is Phase.VERIFIED

    device.reports.unlink()
    device.sleep(400.0)
    assert device.poll().models[0].verified == package.digest


def test_a_clone_that_gets_a_name_of_its_own_takes_up_what_that_is_assigned(
    device: Device, repository: TufRepository
) -> None:
    """Its disk remembers a higher version, of the other's name."""
    assert device.poll().reason == ""
    repository.add_package(package := a_package(7))
    fresh = assignment("dev-2", 1, target(package))
    repository.assign(fresh)
    renamed = Device(device.directory, repository.path, repository.root, device="dev-2")
    first = renamed.agent.report()
    assert (first.assignment_version, first.models) == (0, ())
    report = renamed.poll()
    assert (report.reason, report.assignment_version) == ("", 1)
    assert report.start != device.agent.report().start
