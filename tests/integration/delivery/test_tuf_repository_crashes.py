"""The published repository, written by processes that are killed at every durable operation."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from edgewright.delivery.repository.keys import create_keys
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes
from harness.published_repository import CONFIG, CONFIGS, RepositorySite, copied, killed_at, operations
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


# ── kill -9 ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_creation_killed_anywhere_is_completed(tmp_path: Path, package: PackageContent) -> None:
    create_keys(tmp_path / "keys")

    def fresh() -> RepositorySite:
        shutil.rmtree(tmp_path / "repository", ignore_errors=True)
        (tmp_path / "keys/repositories.json").unlink(missing_ok=True)
        return RepositorySite(tmp_path)

    count = len(operations(lambda: fresh().delivery.publish([package])))
    assert count > 30
    for number in range(count):
        place = fresh()
        killed_at(number, partial(place.delivery.publish, [package]))
        if (place.metadata / "timestamp.json").exists():
            assert place.device(f"device-{number}").manifest(package.digest) in {None, package.manifest}
        assert place.delivery.published() <= {package.digest}
        place.delivery.publish([package])
        assert place.delivery.published() == {package.digest}
        assert place.device(f"device-{number}").manifest(package.digest) == package.manifest


def test_a_publication_killed_anywhere_leaves_the_old_or_the_new(
    place: RepositorySite, package: PackageContent
) -> None:
    new = a_package(place.folder / "blobs", b"new weights")
    place.delivery.publish([package])
    base = copied(place)
    count = len(operations(lambda: place.delivery.publish([new])))
    assert count > 15
    for number in range(count):
        here = copied(base)
        device = here.device()
        assert device.manifest(package.digest) == package.manifest
        killed_at(number, partial(here.delivery.publish, [new]))

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
    place: RepositorySite, package: PackageContent
) -> None:
    new = [a_package(place.folder / "blobs", b"new weights %d" % number) for number in range(3)]
    place.delivery.publish([package])
    base = copied(place)
    steps = operations(lambda: place.delivery.publish(new))
    signed = [name for operation, name in steps if operation == "rename" and name.endswith("packages.json")]
    assert len(signed) == 1
    for number in range(len(steps)):
        here = copied(base)
        device = here.device()
        killed_at(number, partial(here.delivery.publish, new))

        assert here.delivery.published() in ({package.digest}, {package.digest, *(each.digest for each in new)})
        for each in new:
            if device.manifest(each.digest) is not None:
                assert [device.blob(digest) for digest in each.blobs] == [p.read_bytes() for p in each.blobs.values()]
        assert here.delivery.publish(new) == {}
        assert [device.manifest(each.digest) for each in (package, *new)] == [p.manifest for p in (package, *new)]


def test_an_assignment_killed_anywhere_leaves_the_old_or_the_new(
    place: RepositorySite, package: PackageContent
) -> None:
    devices = ["lane-0", "lane-1", "lane-2", "lane-3"]
    old = {d: an_assignment(d, package, 1) for d in devices}
    new = {d: an_assignment(d, package, 2, config=CONFIG) for d in devices}
    newest = {d: an_assignment(d, None, 3) for d in devices}
    place.delivery.publish([package])
    place.delivery.assign(list(old.values()), {})
    base = copied(place)
    count = len(operations(lambda: place.delivery.assign(list(new.values()), CONFIGS)))
    assert count > 35
    for number in range(count):
        here = copied(base)
        device = here.device()
        assert device.assignment("lane-0") == old["lane-0"]
        killed_at(number, partial(here.delivery.assign, list(new.values()), CONFIGS))

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
def test_other_work_killed_anywhere_can_be_repeated(place: RepositorySite, package: PackageContent, work: str) -> None:
    place.delivery.publish([package])
    place.delivery.publish([a_package(place.folder / "blobs", b"forgotten")])
    devices = {d: an_assignment(d, package) for d in ("lane-0", "lane-1")}
    place.delivery.assign(list(devices.values()), {})
    base = copied(place)

    def start(at: RepositorySite) -> Callable[[], object]:
        if work == "refresh":
            at.now += timedelta(days=200)
            return at.delivery.refresh
        if work == "rebin":
            return partial(RepositorySite(at.folder, bins=4).delivery.assign, [], {})
        return partial(at.delivery.retire, ["lane-1"]) if work == "retire" else partial(at.delivery.collect, [])

    left = dict(devices) | ({"lane-1": None} if work == "retire" else {})
    for number in range(len(operations(start(place)))):
        here = copied(base)
        call = start(here)
        killed_at(number, call)
        device = here.device()
        assert {d: device.assignment(d) for d in devices} in (devices, left)
        call()
        assert {d: device.assignment(d) for d in devices} == left
        assert device.manifest(package.digest) == package.manifest


def test_killed_writers_leave_only_temporary_files_and_those_go(place: RepositorySite, package: PackageContent) -> None:
    place.delivery.publish([package])
    killed_at(2, lambda: place.delivery.assign([an_assignment("lane-1", package)], {}))
    assert list(place.repository.rglob(".*.tmp"))
    place.now += timedelta(hours=2)
    place.delivery.assign([an_assignment("lane-1", package)], {})
    assert not list(place.repository.rglob(".*.tmp"))
