"""The published repository, attacked, or on disks and shares that fail."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    RepositoryError,
    UnsignedMetadataError,
)

from devices.tuf import TufDevice
from edgewright import durable
from edgewright.delivery.agent.driver import AgentDelivery
from edgewright.delivery.repository.keys import create_keys
from edgewright.errors import DeliveryError, DeliveryUnavailable, StorageFull
from edgewright.ports import PackageContent
from harness.published_repository import CONFIG, CONFIGS, RepositorySite, copied
from samples.delivery_values import a_package, an_assignment


@pytest.fixture
def place(tmp_path: Path) -> RepositorySite:
    create_keys(tmp_path / "keys")
    place = RepositorySite(tmp_path)
    place.delivery.create()
    return place


@pytest.fixture
def package(tmp_path: Path) -> PackageContent:
    return a_package(tmp_path / "blobs")


# ── attacks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repository_put_back_to_an_older_state_is_refused(
    place: RepositorySite, package: PackageContent, tmp_path: Path
) -> None:
    place.delivery.publish([package])
    place.delivery.assign([an_assignment("lane-1", package, 1)], {})
    shutil.copytree(place.repository, tmp_path / "older")
    place.delivery.assign([an_assignment("lane-1", None, 2)], {})
    device = place.device()
    assert device.assignment("lane-1") == an_assignment("lane-1", None, 2)

    shutil.rmtree(place.repository)
    (tmp_path / "older").rename(place.repository)
    with pytest.raises(BadVersionNumberError):
        device.assignment("lane-1")
    with pytest.raises(DeliveryError, match="is at version 3, but version 4 was published"):
        place.delivery.assign([an_assignment("lane-1", package, 3)], {})


def test_a_repository_of_other_keys_is_refused_by_devices_and_by_us(
    place: RepositorySite, package: PackageContent, tmp_path: Path
) -> None:
    other_folder = tmp_path / "other"
    create_keys(other_folder / "keys")
    other = RepositorySite(other_folder)
    other.delivery.publish([package])
    root = (place.metadata / "1.root.json").read_bytes()

    with pytest.raises(UnsignedMetadataError):
        TufDevice(other.repository, tmp_path / "device", root).manifest(package.digest)
    mixed = AgentDelivery(other.repository, tmp_path / "reports", tmp_path / "keys")
    before = other.files()
    calls: list[Callable[[], object]] = [
        lambda: mixed.publish([package]),
        lambda: mixed.assign([an_assignment("lane-1", package)], {}),
        lambda: mixed.retire(["lane-1"]),
        mixed.create,
    ]
    for call in calls:
        with pytest.raises(DeliveryError, match="trusts another"):
            call()
    assert other.files() == before


def test_a_root_that_only_claims_our_key_ids_is_refused(place: RepositorySite, tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    create_keys(other_folder / "keys")
    other = RepositorySite(other_folder)
    other.delivery.create()
    ours = json.loads((place.metadata / "1.root.json").read_bytes())["signed"]["keys"]
    forged = (other.metadata / "1.root.json").read_text()
    for theirs, mine in zip(sorted(json.loads(forged)["signed"]["keys"]), sorted(ours), strict=True):
        forged = forged.replace(theirs, mine)
    (other.metadata / "1.root.json").write_text(forged)
    with pytest.raises(DeliveryError, match="trusts another"):
        AgentDelivery(other.repository, tmp_path / "reports", tmp_path / "keys").create()


def test_an_edited_bin_is_never_signed_by_us(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    devices = [f"lane-{n}" for n in range(8)]
    place.delivery.assign([an_assignment(d, package) for d in devices], {})
    for path in place.metadata.glob("2.bins-*.json"):
        data = json.loads(path.read_bytes())
        next(iter(data["signed"]["targets"].values()))["hashes"]["sha256"] = "0" * 64
        path.write_text(json.dumps(data))
    timestamp = (place.metadata / "timestamp.json").read_bytes()

    with pytest.raises(DeliveryError, match=r"bins-.\.json is not what this repository's keys have signed"):
        place.delivery.assign([an_assignment("lane-1", package, 2)], {})
    assert (place.metadata / "timestamp.json").read_bytes() == timestamp
    with pytest.raises((RepositoryError, DownloadError)):
        place.device().assignment("lane-1")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((n, "missing") for n in ("2.snapshot", "1.targets", "2.packages", "1.assignments", "1.bins-0")),
        *((n, "garbage") for n in ("timestamp", "2.snapshot", "1.targets", "2.packages", "1.assignments", "1.bins-0")),
        *((n, "other") for n in ("timestamp", "2.snapshot", "1.targets", "2.packages", "1.assignments", "1.bins-0")),
    ],
)
def test_damaged_metadata_is_named(place: RepositorySite, package: PackageContent, name: str, damage: str) -> None:
    place.delivery.publish([package])
    path = place.metadata / f"{name}.json"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"{" if damage == "garbage" else (place.metadata / "1.root.json").read_bytes())
    devices = [f"lane-{n}" for n in range(8)]
    with pytest.raises(DeliveryError, match=f"{name}.json"):
        place.delivery.assign([an_assignment(d, package) for d in devices], {})


# ── disks and shares ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_is_said_with_the_path_and_breaks_nothing(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    old, new = an_assignment("lane-1", package, 1), an_assignment("lane-1", package, 2, config=CONFIG)
    place.delivery.assign([old], {})
    writes = 5  # the configuration, the assignment, its bin, the snapshot, the timestamp
    for number in range(writes):
        here = copied(place)
        before = iter(range(number))

        def full(operation: str, path: Path, before: Iterator[int] = before) -> None:
            if operation == "write" and next(before, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        with durable.watched(full), pytest.raises(StorageFull, match=f"cannot write {here.repository}"):
            here.delivery.assign([new], CONFIGS)
        assert here.device().assignment("lane-1") == old
        here.delivery.assign([new], CONFIGS)
        assert here.device().assignment("lane-1") == new


def test_a_share_that_is_away_is_said_and_may_come_back(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])

    def stale(operation: str, path: Path) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    with durable.watched(stale), pytest.raises(DeliveryUnavailable, match="cannot write the repository"):
        place.delivery.assign([an_assignment("lane-1", package)], {})
    aside = place.repository.rename(place.folder / "aside")
    place.repository.write_text("in the way")
    with pytest.raises(DeliveryUnavailable, match="cannot write the repository"):
        place.delivery.assign([an_assignment("lane-1", package)], {})
    with pytest.raises(DeliveryUnavailable, match="cannot read the repository"):
        place.delivery.published()
    place.repository.unlink()
    aside.rename(place.repository)
    place.delivery.assign([an_assignment("lane-1", package)], {})
    assert place.delivery.published() == {package.digest}


def test_a_repository_that_is_gone_is_not_started_again_unnoticed(
    place: RepositorySite, package: PackageContent
) -> None:
    place.delivery.publish([package])
    shutil.rmtree(place.repository)
    assert place.delivery.published() == frozenset()
    with pytest.raises(DeliveryUnavailable, match=r"is gone; version 2 was published there") as caught:
        place.delivery.publish([package])
    assert "mount or restore it" in str(caught.value)

    (place.folder / "keys/repositories.json").unlink()
    place.delivery.publish([package])
    assert place.delivery.published() == {package.digest}


def test_several_writers_take_turns(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            try:
                for number in range(5):
                    place.delivery.assign([an_assignment(f"lane-{writer}-{number}", package)], {})
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    device = place.device()
    names = [f"lane-{writer}-{number}" for writer in range(4) for number in range(5)]
    assert {name: device.assignment(name) for name in names} == {n: an_assignment(n, package) for n in names}
