"""The published repository, seen through python-tuf's client: what is written, and when signatures are renewed."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import (
    ExpiredMetadataError,
)

from edgewright.delivery.repository.keys import create_keys
from edgewright.delivery.repository.metadata import KEPT_VERSIONS
from edgewright.errors import DeliveryError
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.layout import blob_path
from harness.published_repository import CONFIG, CONFIGS, RepositorySite, operations
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


# ── what is written, and when ─────────────────────────────────────────────────────────────────────────────────────


def test_repeating_changes_no_byte(place: RepositorySite, package: PackageContent) -> None:
    def everything() -> None:
        place.delivery.create()
        place.delivery.publish([package])
        place.delivery.assign([an_assignment("lane-1", package, config=CONFIG)], CONFIGS)
        place.delivery.retire(["lane-2"])

    everything()
    before = place.files()
    everything()
    assert place.files() == before


def test_only_touched_bins_are_signed_again(tmp_path: Path, package: PackageContent) -> None:
    create_keys(tmp_path / "keys")
    place = RepositorySite(tmp_path, bins=16)
    place.delivery.publish([package])
    place.delivery.assign([an_assignment(f"lane-{n}", package) for n in range(100)], {})
    before = set(place.files())
    place.delivery.assign([an_assignment("lane-7", package, 2)], {})

    roles = sorted(name.split(".", 1)[1] for name in set(place.files()) - before if name.startswith("metadata/"))
    assert [role for role in roles if role.startswith("bins-")] == roles[:1]
    assert roles[1:] == ["snapshot.json"]


def test_clients_find_all_content_before_the_timestamp_leads_to_it(
    place: RepositorySite, package: PackageContent
) -> None:
    """The rename of timestamp.json is the last thing that happens, but for its folder's sync and the cleaning."""

    def publish() -> None:
        place.delivery.publish([package])

    def assign() -> None:
        place.delivery.assign([an_assignment("lane-1", package, config=CONFIG)], CONFIGS)

    for change in (publish, assign):
        seen = operations(change)
        at = seen.index(("rename", "timestamp.json"))
        assert {operation for operation, name in seen[at + 1 :] if "repositories.json" not in name} == {"sync-dir"}
        assert ("sync-dir", "metadata") in seen[:at]
        assert sum(operation == "sync-dir" for operation, _ in seen[:at]) <= 4


def test_a_damaged_repository_is_completed_by_repeating(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    place.delivery.assign([an_assignment("lane-1", package, config=CONFIG)], CONFIGS)
    whole = place.files()
    layer = place.repository / blob_path(list(package.blobs)[1])
    layer.unlink()
    assert place.delivery.published() == frozenset(), "nobody can fetch it"
    layer.write_bytes(b"weighty")
    shutil.rmtree(place.repository / "targets")

    place.delivery.publish([package])
    place.delivery.assign([an_assignment("lane-1", package, config=CONFIG)], CONFIGS)
    assert place.files() == whole
    assert place.delivery.published() == {package.digest}


def test_superseded_versions_are_taken_away_but_not_at_once(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    for version in range(1, 31):
        place.now += timedelta(minutes=10)
        place.delivery.assign([an_assignment("lane-1", package, version)], {})

    assignments = list((place.repository / "targets/assignments").iterdir())
    assert 6 <= len(assignments) <= 8, "those superseded in the last hour, and the current one"
    for role in ("bins-0", "bins-1", "snapshot"):
        assert len(list(place.metadata.glob(f"*.{role}.json"))) <= KEPT_VERSIONS + 1
    assert place.device().assignment("lane-1") == an_assignment("lane-1", package, 30)
    assert len(list(place.metadata.glob("*.root.json"))) == 1


def test_a_device_that_was_away_for_long_catches_up(place: RepositorySite, package: PackageContent) -> None:
    device = place.device()
    place.delivery.publish([package])
    place.delivery.assign([an_assignment("lane-1", package, 1)], {})
    assert device.assignment("lane-1") == an_assignment("lane-1", package, 1)
    for version in range(2, KEPT_VERSIONS * 2):
        place.delivery.assign([an_assignment("lane-1", package, version)], {})
    assert device.assignment("lane-1") == an_assignment("lane-1", package, version)


@pytest.mark.parametrize("bins", [[2, 16, 4, 2], [16, 32, 64, 16]])
def test_the_number_of_bins_may_change(tmp_path: Path, package: PackageContent, bins: list[int]) -> None:
    create_keys(tmp_path / "keys")
    devices = [f"lane-{n}" for n in range(20)]
    RepositorySite(tmp_path, bins=bins[0]).delivery.publish([package])
    device = RepositorySite(tmp_path).device()
    for version, count in enumerate(bins, 1):
        place = RepositorySite(tmp_path, bins=count)
        place.delivery.assign([an_assignment(devices[0], package, version)], {})
        if version == 1:
            place.delivery.assign([an_assignment(d, package) for d in devices[1:]], {})
        assert device.assignment(devices[0]) == an_assignment(devices[0], package, version)
        for name in devices[1:]:
            assert device.assignment(name) == an_assignment(name, package)
        expires = place.delivery.expires()
        assert expires is not None
        assert expires > place.now


@pytest.mark.parametrize("bins", [0, 1, 3, 12])
def test_a_number_of_bins_that_cannot_be_is_refused(tmp_path: Path, bins: int) -> None:
    create_keys(tmp_path / "keys")
    with pytest.raises(DeliveryError, match="must be a power of two"):
        RepositorySite(tmp_path, bins=bins).delivery.create()


def test_collecting_leaves_what_devices_may_fetch(
    place: RepositorySite, package: PackageContent, tmp_path: Path
) -> None:
    returned_to = a_package(tmp_path / "blobs", b"the champion before")
    forgotten = a_package(tmp_path / "blobs", b"an old idea")
    for each in (package, returned_to, forgotten):
        place.delivery.publish([each])
    old = b"threshold = 0.5\n"
    place.delivery.assign([an_assignment("lane-1", package, 1, old)], {digest_bytes(old): old})
    place.delivery.assign([an_assignment("lane-1", package, 2, CONFIG)], CONFIGS)
    before = place.files()

    would = place.delivery.collect([returned_to.digest], dry_run=True)
    assert place.files() == before
    did = place.delivery.collect([returned_to.digest])
    assert did == would
    assert (did.packages, did.files) == ((forgotten.digest,), 2), "its manifest and its layer; the config is shared"
    assert did.bytes == len(forgotten.manifest) + len(b"an old idea")
    assert place.delivery.published() == {package.digest, returned_to.digest}
    device = place.device()
    assert device.manifest(forgotten.digest) is None
    assert device.blob(digest_bytes(old)) == old, "a slow device may be fetching it"

    place.now += timedelta(hours=2)
    place.delivery.assign([an_assignment("lane-1", package, 3, CONFIG)], {})
    assert place.delivery.collect([returned_to.digest]).files == 1
    assert not (place.repository / blob_path(digest_bytes(old))).exists()
    assert device.assignment("lane-1") == an_assignment("lane-1", package, 3, CONFIG)
    assert place.delivery.collect([returned_to.digest]).files == 0
    place.delivery.publish([forgotten])
    assert device.manifest(forgotten.digest) == forgotten.manifest


def test_collecting_without_the_packages_key_leaves_packages(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    (place.folder / "keys/packages.pem").unlink()
    (place.repository / "blobs/sha256" / ("0" * 64)).write_bytes(b"left by a crash")
    did = place.delivery.collect([])
    assert (did.packages, did.files, did.bytes) == ((), 1, 15)
    assert place.delivery.published() == {package.digest}


# ── signatures and their lives ────────────────────────────────────────────────────────────────────────────────────


def test_offline_keys_are_needed_for_their_work_only(
    place: RepositorySite, package: PackageContent, tmp_path: Path
) -> None:
    place.delivery.publish([package])
    for role in ("root", "targets", "packages"):
        (tmp_path / f"keys/{role}.pem").unlink()

    place.delivery.assign([an_assignment("lane-1", package)], {})
    place.delivery.retire(["lane-1"])
    place.delivery.publish([package])
    with pytest.raises(DeliveryError, match="the packages key is not here"):
        place.delivery.publish([a_package(tmp_path / "blobs", b"other")])
    assert place.device().manifest(package.digest) == package.manifest


def test_signatures_are_renewed_at_half_of_their_life(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    place.delivery.assign([an_assignment("lane-1", package)], {})
    assert place.delivery.expires() == (place.now + timedelta(days=30)).replace(microsecond=0)
    assert place.delivery.refresh() == ()
    before = place.files()
    place.now += timedelta(days=14)
    assert place.delivery.refresh() == ()
    assert place.files() == before

    place.now += timedelta(days=2)
    assert place.delivery.refresh() == ("snapshot", "timestamp")
    assert place.delivery.expires() == (place.now + timedelta(days=30)).replace(microsecond=0)
    place.now += timedelta(days=180)
    assert set(place.delivery.refresh()) == {
        *("root", "targets", "packages", "assignments", "bins-0", "bins-1", "snapshot", "timestamp")
    }
    assert (place.metadata / "root.json").read_bytes() == (place.metadata / "2.root.json").read_bytes()
    assert place.device().assignment("lane-1") == an_assignment("lane-1", package)


def test_a_refresh_without_offline_keys_renews_the_others(place: RepositorySite, tmp_path: Path) -> None:
    for role in ("root", "targets", "packages"):
        (tmp_path / f"keys/{role}.pem").unlink()
    place.now += timedelta(days=200)
    assert set(place.delivery.refresh()) == {"assignments", "bins-0", "bins-1", "snapshot", "timestamp"}
    place.now += timedelta(days=140)
    assert set(place.delivery.refresh()) == {"snapshot", "timestamp"}
    assert place.delivery.expires() == (place.now + timedelta(days=25)).replace(microsecond=0), "the root's end"


def test_a_device_refuses_signatures_that_ran_out_until_they_are_renewed(
    place: RepositorySite, package: PackageContent
) -> None:
    place.now -= timedelta(days=31)
    place.delivery.publish([package])
    with pytest.raises(ExpiredMetadataError):
        place.device().manifest(package.digest)
    place.now += timedelta(days=31)
    place.delivery.refresh()
    assert place.device().manifest(package.digest) == package.manifest


def test_targets_are_named_as_clients_fetch_them(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    assert (place.repository / "targets/packages").is_dir()
    name = f"{hex_of(package.digest)}.{hex_of(package.digest)}.json"
    assert [path.name for path in (place.repository / "targets/packages").iterdir()] == [name]
