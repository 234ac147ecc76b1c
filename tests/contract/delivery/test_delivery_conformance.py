"""What every delivery does, whatever carries it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from devices.tuf import TufDevice
from edgewright.core.config_drift import RepositoryInspection
from edgewright.delivery.agent.driver import AgentDelivery
from edgewright.delivery.repository.keys import create_keys
from edgewright.errors import BlobCorrupt, DeliveryError
from edgewright.ports import DeliveryReader, DeliveryWriter, PackageContent
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.layout import report_name
from edgewright_wire.messages import Assignment, Report
from fakes.delivery import InMemoryDelivery
from samples.delivery_values import a_package, a_report, an_assignment


class Delivery(DeliveryReader, DeliveryWriter, Protocol):
    """Both sides of the port."""


class Devices(Protocol):
    """What can be seen from the other end."""

    def assignment(self, device: str) -> Assignment | None: ...
    def manifest(self, package: str) -> bytes | None: ...
    def blob(self, digest: str) -> bytes: ...


@dataclass
class Site:
    delivery: Delivery
    devices: Devices
    report: Callable[[Report], object]


@pytest.fixture(params=["agent", "memory"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "memory":
        memory = InMemoryDelivery()
        return Site(memory, memory, memory.report)
    create_keys(tmp_path / "keys")
    agent = AgentDelivery(tmp_path / "repository", tmp_path / "reports", tmp_path / "keys", cache=tmp_path / "cache")
    agent.create()
    root = (tmp_path / "repository/metadata/1.root.json").read_bytes()
    (tmp_path / "reports").mkdir()

    def report(report: Report) -> None:
        beside = tmp_path / "beside"
        beside.write_bytes(report.to_bytes())
        beside.replace(tmp_path / "reports" / report_name(report.device))

    return Site(agent, TufDevice(tmp_path / "repository", tmp_path / "device", root), report)


@pytest.fixture
def package(tmp_path: Path) -> PackageContent:
    return a_package(tmp_path / "blobs")


def test_nothing_is_published_at_first(site: Site, package: PackageContent) -> None:
    assert site.delivery.published() == frozenset()
    assert site.devices.manifest(package.digest) is None
    assert site.devices.assignment("lane-1") is None


def test_a_published_package_can_be_fetched_whole(site: Site, package: PackageContent) -> None:
    site.delivery.publish([package])

    assert site.delivery.published() == {package.digest}
    assert site.devices.manifest(package.digest) == package.manifest
    for digest, path in package.blobs.items():
        assert site.devices.blob(digest) == path.read_bytes()


def test_packages_stay_when_another_is_published(site: Site, package: PackageContent, tmp_path: Path) -> None:
    other = a_package(tmp_path / "blobs", b"other weights")
    site.delivery.publish([package])
    site.delivery.publish([other])

    assert site.delivery.published() == {package.digest, other.digest}
    assert site.devices.manifest(package.digest) == package.manifest


def test_packages_published_together_can_all_be_fetched(site: Site, tmp_path: Path) -> None:
    packages = [a_package(tmp_path / "blobs", b"weights %d" % number) for number in range(5)]

    assert site.delivery.publish([*packages, packages[0]]) == {}
    assert site.delivery.publish([]) == {}

    assert site.delivery.published() == {package.digest for package in packages}
    for package in packages:
        assert site.devices.manifest(package.digest) == package.manifest
        assert [site.devices.blob(digest) for digest in package.blobs] == [
            p.read_bytes() for p in package.blobs.values()
        ]


def test_a_corrupt_blob_is_not_published_and_keeps_no_other_package_back(
    site: Site, package: PackageContent, tmp_path: Path
) -> None:
    others = [a_package(tmp_path / "others", b"before"), a_package(tmp_path / "others", b"after")]
    list(package.blobs.values())[1].write_bytes(b"bit rot")

    refused = site.delivery.publish([others[0], package, others[1]])

    assert refused.keys() == {package.digest}
    assert isinstance(refused[package.digest], BlobCorrupt)
    assert site.delivery.published() == {other.digest for other in others}
    assert site.devices.manifest(package.digest) is None


def test_an_incomplete_package_is_not_published(site: Site, package: PackageContent) -> None:
    incomplete = site.delivery.publish([PackageContent(package.manifest, package.digest, {})])
    altered = site.delivery.publish([PackageContent(package.manifest + b" ", package.digest, package.blobs)])

    assert [type(error) for error in (*incomplete.values(), *altered.values())] == [DeliveryError] * 2
    assert "not given" in incomplete[package.digest].message
    assert "another manifest" in altered[package.digest].message
    assert site.delivery.published() == frozenset()


def test_assignments_reach_their_devices_with_their_configurations(site: Site, package: PackageContent) -> None:
    site.delivery.publish([package])
    configs = {f"lane-{n}": f"lane = {n}".encode() for n in range(5)}
    assignments = [an_assignment(d, package, config=c) for d, c in configs.items()]

    site.delivery.assign(assignments, {digest_bytes(c): c for c in configs.values()})

    for assignment, config in zip(assignments, configs.values(), strict=True):
        assert site.devices.assignment(assignment.device) == assignment
        assert site.devices.blob(digest_bytes(config)) == config
    assert site.devices.assignment("lane-99") is None


def test_the_newest_assignment_counts_and_others_stay(site: Site, package: PackageContent) -> None:
    site.delivery.publish([package])
    site.delivery.assign([an_assignment(d, package, 1) for d in ("lane-1", "lane-2")], {})
    site.delivery.assign([an_assignment("lane-1", None, 2)], {})

    assert site.devices.assignment("lane-1") == an_assignment("lane-1", None, 2)
    assert site.devices.assignment("lane-2") == an_assignment("lane-2", package, 1)


def test_everything_may_be_repeated(site: Site, package: PackageContent) -> None:
    config = b"threshold = 0.8"
    assignment = an_assignment("lane-1", package, config=config)
    for _ in range(2):
        site.delivery.publish([package])
        site.delivery.assign([assignment], {digest_bytes(config): config})
        site.delivery.assign([], {})

    assert site.devices.assignment("lane-1") == assignment
    for _ in range(2):
        site.delivery.retire(["lane-1", "never-seen"])
        assert site.devices.assignment("lane-1") is None


def test_versions_never_go_back(site: Site, package: PackageContent) -> None:
    site.delivery.publish([package])
    site.delivery.assign([an_assignment("lane-1", package, 3)], {})

    with pytest.raises(DeliveryError, match=r"lane-1.*version 3"):
        site.delivery.assign([an_assignment("lane-1", None, 2)], {})
    with pytest.raises(DeliveryError, match=r"lane-1.*version 3"):
        site.delivery.assign([an_assignment("lane-1", None, 3)], {})

    assert site.devices.assignment("lane-1") == an_assignment("lane-1", package, 3)


def test_only_what_can_be_fetched_is_assigned(site: Site, package: PackageContent) -> None:
    with pytest.raises(DeliveryError, match="not published"):
        site.delivery.assign([an_assignment("lane-1", package)], {})
    site.delivery.publish([package])
    with pytest.raises(DeliveryError, match="configurations were not given"):
        site.delivery.assign([an_assignment("lane-1", package, config=b"lost")], {})

    assert site.devices.assignment("lane-1") is None


def test_reports_newer_than_known_are_observed(site: Site) -> None:
    assert site.delivery.observe({}) == []
    site.report(a_report("lane-2", 7))
    site.report(a_report("lane-1", 1))

    assert list(site.delivery.observe({})) == [a_report("lane-1", 1), a_report("lane-2", 7)]
    assert list(site.delivery.observe({"lane-1": 1})) == [a_report("lane-2", 7)]
    assert list(site.delivery.observe({"lane-1": 1, "lane-2": 7})) == []
    site.report(a_report("lane-1", 2))
    assert list(site.delivery.observe({"lane-1": 1, "lane-2": 7})) == [a_report("lane-1", 2)]


def test_a_deep_look_finds_what_was_assigned_and_nothing_wrong(site: Site, package: PackageContent) -> None:
    assert site.delivery.inspect({}, None) == RepositoryInspection()
    site.delivery.publish([package])
    config = b"threshold = 0.8"
    assignment = an_assignment("lane-1", package, 4, config=config)
    site.delivery.assign([assignment], {digest_bytes(config): config})

    found = site.delivery.inspect({digest_bytes(config): len(config)}, None)

    assert found.flaws == ()
    assert found.assigned == {"lane-1": (4, digest_bytes(assignment.to_bytes()))}
    assert site.delivery.damaged() == {}
