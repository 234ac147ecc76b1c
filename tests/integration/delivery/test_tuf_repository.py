"""The published repository, seen through python-tuf's client: what it accepts and refuses, what a crash leaves."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    ExpiredMetadataError,
    RepositoryError,
    UnsignedMetadataError,
)

from devices.tuf import TufDevice
from edgewright import durable
from edgewright.delivery.agent.driver import AgentDelivery
from edgewright.delivery.repository.keys import create_keys
from edgewright.delivery.repository.metadata import KEPT_VERSIONS
from edgewright.errors import DeliveryError, DeliveryUnavailable, StorageFull
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.layout import blob_path
from samples.delivery_values import a_package, an_assignment

CONFIG = b"threshold = 0.8\n"
CONFIGS = {digest_bytes(CONFIG): CONFIG}


class Place:
    """A repository with its keys below one folder, and devices that trust its first root."""

    def __init__(self, folder: Path, *, bins: int = 2) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.metadata = self.repository / "metadata"
        self.now = datetime.now(UTC)
        self.delivery = AgentDelivery(self.repository, folder / "reports", folder / "keys", lambda: self.now, bins=bins)

    def device(self, name: str = "device") -> TufDevice:
        return TufDevice(self.repository, self.folder / name, (self.metadata / "1.root.json").read_bytes())

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.repository)): path.read_bytes()
            for path in self.repository.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    create_keys(tmp_path / "keys")
    place = Place(tmp_path)
    place.delivery.create()
    return place


@pytest.fixture
def package(tmp_path: Path) -> PackageContent:
    return a_package(tmp_path / "blobs")


# ── what is written, and when ─────────────────────────────────────────────────────────────────────────────────────


def test_repeating_changes_no_byte(place: Place, package: PackageContent) -> None:
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
    place = Place(tmp_path, bins=16)
    place.delivery.publish([package])
    place.delivery.assign([an_assignment(f"lane-{n}", package) for n in range(100)], {})
    before = set(place.files())
    place.delivery.assign([an_assignment("lane-7", package, 2)], {})

    roles = sorted(name.split(".", 1)[1] for name in set(place.files()) - before if name.startswith("metadata/"))
    assert [role for role in roles if role.startswith("bins-")] == roles[:1]
    assert roles[1:] == ["snapshot.json"]


def test_clients_find_all_content_before_the_timestamp_leads_to_it(place: Place, package: PackageContent) -> None:
    """The rename of timestamp.json is the last thing that happens, but for its folder's sync and the cleaning."""

    def publish() -> None:
        place.delivery.publish([package])

    def assign() -> None:
        place.delivery.assign([an_assignment("lane-1", package, config=CONFIG)], CONFIGS)

    for change in (publish, assign):
        seen = _operations(change)
        at = seen.index(("rename", "timestamp.json"))
        assert {operation for operation, name in seen[at + 1 :] if "repositories.json" not in name} == {"sync-dir"}
        assert ("sync-dir", "metadata") in seen[:at]
        assert sum(operation == "sync-dir" for operation, _ in seen[:at]) <= 4


def test_a_damaged_repository_is_completed_by_repeating(place: Place, package: PackageContent) -> None:
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


def test_superseded_versions_are_taken_away_but_not_at_once(place: Place, package: PackageContent) -> None:
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


def test_a_device_that_was_away_for_long_catches_up(place: Place, package: PackageContent) -> None:
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
    Place(tmp_path, bins=bins[0]).delivery.publish([package])
    device = Place(tmp_path).device()
    for version, count in enumerate(bins, 1):
        place = Place(tmp_path, bins=count)
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
        Place(tmp_path, bins=bins).delivery.create()


def test_collecting_leaves_what_devices_may_fetch(place: Place, package: PackageContent, tmp_path: Path) -> None:
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


def test_collecting_without_the_packages_key_leaves_packages(place: Place, package: PackageContent) -> None:
    place.delivery.publish([package])
    (place.folder / "keys/packages.pem").unlink()
    (place.repository / "blobs/sha256" / ("0" * 64)).write_bytes(b"left by a crash")
    did = place.delivery.collect([])
    assert (did.packages, did.files, did.bytes) == ((), 1, 15)
    assert place.delivery.published() == {package.digest}


# ── signatures and their lives ────────────────────────────────────────────────────────────────────────────────────


def test_offline_keys_are_needed_for_their_work_only(place: Place, package: PackageContent, tmp_path: Path) -> None:
    place.delivery.publish([package])
    for role in ("root", "targets", "packages"):
        (tmp_path / f"keys/{role}.pem").unlink()

    place.delivery.assign([an_assignment("lane-1", package)], {})
    place.delivery.retire(["lane-1"])
    place.delivery.publish([package])
    with pytest.raises(DeliveryError, match="the packages key is not here"):
        place.delivery.publish([a_package(tmp_path / "blobs", b"other")])
    assert place.device().manifest(package.digest) == package.manifest


def test_signatures_are_renewed_at_half_of_their_life(place: Place, package: PackageContent) -> None:
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


def test_a_refresh_without_offline_keys_renews_the_others(place: Place, tmp_path: Path) -> None:
    for role in ("root", "targets", "packages"):
        (tmp_path / f"keys/{role}.pem").unlink()
    place.now += timedelta(days=200)
    assert set(place.delivery.refresh()) == {"assignments", "bins-0", "bins-1", "snapshot", "timestamp"}
    place.now += timedelta(days=140)
    assert set(place.delivery.refresh()) == {"snapshot", "timestamp"}
    assert place.delivery.expires() == (place.now + timedelta(days=25)).replace(microsecond=0), "the root's end"


def test_a_device_refuses_signatures_that_ran_out_until_they_are_renewed(place: Place, package: PackageContent) -> None:
    place.now -= timedelta(days=31)
    place.delivery.publish([package])
    with pytest.raises(ExpiredMetadataError):
        place.device().manifest(package.digest)
    place.now += timedelta(days=31)
    place.delivery.refresh()
    assert place.device().manifest(package.digest) == package.manifest


# ── attacks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repository_put_back_to_an_older_state_is_refused(
    place: Place, package: PackageContent, tmp_path: Path
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
    place: Place, package: PackageContent, tmp_path: Path
) -> None:
    other_folder = tmp_path / "other"
    create_keys(other_folder / "keys")
    other = Place(other_folder)
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


def test_a_root_that_only_claims_our_key_ids_is_refused(place: Place, tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    create_keys(other_folder / "keys")
    other = Place(other_folder)
    other.delivery.create()
    ours = json.loads((place.metadata / "1.root.json").read_bytes())["signed"]["keys"]
    forged = (other.metadata / "1.root.json").read_text()
    for theirs, mine in zip(sorted(json.loads(forged)["signed"]["keys"]), sorted(ours), strict=True):
        forged = forged.replace(theirs, mine)
    (other.metadata / "1.root.json").write_text(forged)
    with pytest.raises(DeliveryError, match="trusts another"):
        AgentDelivery(other.repository, tmp_path / "reports", tmp_path / "keys").create()


def test_an_edited_bin_is_never_signed_by_us(place: Place, package: PackageContent) -> None:
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
def test_damaged_metadata_is_named(place: Place, package: PackageContent, name: str, damage: str) -> None:
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


def test_a_full_disk_is_said_with_the_path_and_breaks_nothing(place: Place, package: PackageContent) -> None:
    place.delivery.publish([package])
    old, new = an_assignment("lane-1", package, 1), an_assignment("lane-1", package, 2, config=CONFIG)
    place.delivery.assign([old], {})
    writes = 5  # the configuration, the assignment, its bin, the snapshot, the timestamp
    for number in range(writes):
        here = _copied(place)
        before = iter(range(number))

        def full(operation: str, path: Path, before: Iterator[int] = before) -> None:
            if operation == "write" and next(before, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        with durable.watched(full), pytest.raises(StorageFull, match=f"cannot write {here.repository}"):
            here.delivery.assign([new], CONFIGS)
        assert here.device().assignment("lane-1") == old
        here.delivery.assign([new], CONFIGS)
        assert here.device().assignment("lane-1") == new


def test_a_share_that_is_away_is_said_and_may_come_back(place: Place, package: PackageContent) -> None:
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


def test_a_repository_that_is_gone_is_not_started_again_unnoticed(place: Place, package: PackageContent) -> None:
    place.delivery.publish([package])
    shutil.rmtree(place.repository)
    assert place.delivery.published() == frozenset()
    with pytest.raises(DeliveryUnavailable, match=r"is gone; version 2 was published there") as caught:
        place.delivery.publish([package])
    assert "mount or restore it" in str(caught.value)

    (place.folder / "keys/repositories.json").unlink()
    place.delivery.publish([package])
    assert place.delivery.published() == {package.digest}


def test_several_writers_take_turns(place: Place, package: PackageContent) -> None:
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


# ── kill -9 ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_creation_killed_anywhere_is_completed(tmp_path: Path, package: PackageContent) -> None:
    create_keys(tmp_path / "keys")

    def fresh() -> Place:
        shutil.rmtree(tmp_path / "repository", ignore_errors=True)
        (tmp_path / "keys/repositories.json").unlink(missing_ok=True)
        return Place(tmp_path)

    count = len(_operations(lambda: fresh().delivery.publish([package])))
    assert count > 30
    for number in range(count):
        place = fresh()
        _killed_at(number, partial(place.delivery.publish, [package]))
        if (place.metadata / "timestamp.json").exists():
            assert place.device(f"device-{number}").manifest(package.digest) in {None, package.manifest}
        assert place.delivery.published() <= {package.digest}
        place.delivery.publish([package])
        assert place.delivery.published() == {package.digest}
        assert place.device(f"device-{number}").manifest(package.digest) == package.manifest


def test_a_publication_killed_anywhere_leaves_the_old_or_the_new(place: Place, package: PackageContent) -> None:
    new = a_package(place.folder / "blobs", b"new weights")
    place.delivery.publish([package])
    base = _copied(place)
    count = len(_operations(lambda: place.delivery.publish([new])))
    assert count > 15
    for number in range(count):
        here = _copied(base)
        device = here.device()
        assert device.manifest(package.digest) == package.manifest
        _killed_at(number, partial(here.delivery.publish, [new]))

        manifest = device.manifest(new.digest)
        assert manifest in {None, new.manifest}
        if manifest is not None:
            assert [device.blob(digest) for digest in new.blobs] == [p.read_bytes() for p in new.blobs.values()]
        assert here.delivery.published() in ({package.digest}, {package.digest, new.digest})
        here.delivery.publish([new])
        assert device.manifest(new.digest) == new.manifest
        assert device.manifest(package.digest) == package.manifest
        assert here.delivery.published() == {package.digest, new.digest}


def test_packages_published_together_are_signed_once_and_killed_anywhere_come_out_whole(
    place: Place, package: PackageContent
) -> None:
    new = [a_package(place.folder / "blobs", b"new weights %d" % number) for number in range(3)]
    place.delivery.publish([package])
    base = _copied(place)
    operations = _operations(lambda: place.delivery.publish(new))
    signed = [name for operation, name in operations if operation == "rename" and name.endswith("packages.json")]
    assert len(signed) == 1
    for number in range(len(operations)):
        here = _copied(base)
        device = here.device()
        _killed_at(number, partial(here.delivery.publish, new))

        assert here.delivery.published() in ({package.digest}, {package.digest, *(each.digest for each in new)})
        for each in new:
            if device.manifest(each.digest) is not None:
                assert [device.blob(digest) for digest in each.blobs] == [p.read_bytes() for p in each.blobs.values()]
        assert here.delivery.publish(new) == {}
        assert [device.manifest(each.digest) for each in (package, *new)] == [p.manifest for p in (package, *new)]


def test_an_assignment_killed_anywhere_leaves_the_old_or_the_new(place: Place, package: PackageContent) -> None:
    devices = ["lane-0", "lane-1", "lane-2", "lane-3"]
    old = {d: an_assignment(d, package, 1) for d in devices}
    new = {d: an_assignment(d, package, 2, config=CONFIG) for d in devices}
    newest = {d: an_assignment(d, None, 3) for d in devices}
    place.delivery.publish([package])
    place.delivery.assign(list(old.values()), {})
    base = _copied(place)
    count = len(_operations(lambda: place.delivery.assign(list(new.values()), CONFIGS)))
    assert count > 35
    for number in range(count):
        here = _copied(base)
        device = here.device()
        assert device.assignment("lane-0") == old["lane-0"]
        _killed_at(number, partial(here.delivery.assign, list(new.values()), CONFIGS))

        found = {d: device.assignment(d) for d in devices}
        assert found in (old, new), "a wave changes whole"
        if found == new:
            assert device.blob(digest_bytes(CONFIG)) == CONFIG
        # The next call may repeat this one, or know better already.
        wanted, configs = (new, CONFIGS) if number % 2 else (newest, {})
        here.delivery.assign(list(wanted.values()), configs)
        assert {d: device.assignment(d) for d in devices} == wanted
        here.delivery.retire(devices)
        assert {device.assignment(d) for d in devices} == {None}


@pytest.mark.parametrize("work", ["refresh", "rebin", "retire", "collect"])
def test_other_work_killed_anywhere_can_be_repeated(place: Place, package: PackageContent, work: str) -> None:
    place.delivery.publish([package])
    place.delivery.publish([a_package(place.folder / "blobs", b"forgotten")])
    devices = {d: an_assignment(d, package) for d in ("lane-0", "lane-1")}
    place.delivery.assign(list(devices.values()), {})
    base = _copied(place)

    def start(at: Place) -> Callable[[], object]:
        if work == "refresh":
            at.now += timedelta(days=200)
            return at.delivery.refresh
        if work == "rebin":
            return partial(Place(at.folder, bins=4).delivery.assign, [], {})
        return partial(at.delivery.retire, ["lane-1"]) if work == "retire" else partial(at.delivery.collect, [])

    left = dict(devices) | ({"lane-1": None} if work == "retire" else {})
    for number in range(len(_operations(start(place)))):
        here = _copied(base)
        call = start(here)
        _killed_at(number, call)
        device = here.device()
        assert {d: device.assignment(d) for d in devices} in (devices, left)
        call()
        assert {d: device.assignment(d) for d in devices} == left
        assert device.manifest(package.digest) == package.manifest


def test_killed_writers_leave_only_temporary_files_and_those_go(place: Place, package: PackageContent) -> None:
    place.delivery.publish([package])
    _killed_at(2, lambda: place.delivery.assign([an_assignment("lane-1", package)], {}))
    assert list(place.repository.rglob(".*.tmp"))
    place.now += timedelta(hours=2)
    place.delivery.assign([an_assignment("lane-1", package)], {})
    assert not list(place.repository.rglob(".*.tmp"))


# ── helpers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _copied(place: Place) -> Place:
    """Another place, the same in every byte."""
    number = sum(1 for _ in place.folder.parent.iterdir())
    folder = place.folder.parent / f"{place.folder.name}-{number}"
    shutil.copytree(place.folder, folder)
    return Place(folder)


def _operations(call: Callable[[], object]) -> list[tuple[str, str]]:
    """The durable operations of a call, each with its file's name."""
    seen: list[tuple[str, str]] = []
    with durable.watched(lambda operation, path: seen.append((operation, path.name))):
        call()
    return seen


def _killed_at(number: int, call: Callable[[], object]) -> None:
    """Run a call in a child process that is killed just before one of its durable operations."""
    child = os.fork()
    if child == 0:
        left = iter(range(number))

        def watch(operation: str, path: Path) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with durable.watched(watch):
                call()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"


def test_targets_are_named_as_clients_fetch_them(place: Place, package: PackageContent) -> None:
    place.delivery.publish([package])
    assert (place.repository / "targets/packages").is_dir()
    name = f"{hex_of(package.digest)}.{hex_of(package.digest)}.json"
    assert [path.name for path in (place.repository / "targets/packages").iterdir()] == [name]
