"""The deep look at a real repository: every kind of damage is found, named, and mended by publishing again."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.core.config_drift import RepositoryFault
from edgewright.delivery.agent.driver import AgentDelivery
from edgewright.delivery.repository.keys import create_keys
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes
from samples.delivery_values import a_package, an_assignment

CONFIG = b"threshold = 0.8"
CONFIGS = {digest_bytes(CONFIG): len(CONFIG)}
LANES = [f"lane-{n}" for n in range(20)]


@dataclass
class Site:
    folder: Path
    keys: Path
    package: PackageContent
    delivery: AgentDelivery

    def flaws(self, budget: int | None = None) -> list[RepositoryFault]:
        return list(self.delivery.inspect(CONFIGS, budget).flaws)

    def mend(self) -> None:
        self.delivery.publish([self.package])
        assigned = [an_assignment(lane, self.package, config=CONFIG) for lane in LANES]
        self.delivery.assign(assigned, {digest_bytes(CONFIG): CONFIG})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    create_keys(tmp_path / "keys")
    delivery = AgentDelivery(tmp_path / "repository", tmp_path / "reports", tmp_path / "keys", bins=4)
    made = Site(tmp_path / "repository", tmp_path / "keys", a_package(tmp_path / "blobs", b"weights" * 99), delivery)
    made.mend()
    return made


def _change(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


@pytest.mark.parametrize("harm", [Path.unlink, _cut, _change])
@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("targets/packages/*.json", "package"),
        ("targets/assignments/*.lane-7.json", "assignment"),
        (f"blobs/sha256/{digest_bytes(b'weights' * 99)[7:]}", "package"),
        (f"blobs/sha256/{digest_bytes(CONFIG)[7:]}", "configuration"),
    ],
)
def test_a_file_that_is_gone_cut_or_changed_is_found_and_mended(
    site: Site, where: str, kind: str, harm: Callable[[Path], None]
) -> None:
    (path,) = site.folder.glob(where)
    before = path.read_bytes()
    harm(path)
    (flaw,) = site.flaws()
    assert (flaw.kind, flaw.path) == (kind, str(path.relative_to(site.folder)))
    assert flaw.expected == digest_bytes(before)
    site.mend()
    assert site.flaws() == []
    assert path.read_bytes() == before


@pytest.mark.parametrize("role", ["timestamp", "*.snapshot", "*.targets", "*.packages", "*.assignments", "*.bins-2"])
def test_metadata_that_was_changed_is_found_and_never_signed_over(site: Site, role: str) -> None:
    path = max((site.folder / "metadata").glob(f"{role}.json"))
    path.write_bytes(path.read_bytes().replace(b'"_type"', b'"_tYpe"'))
    (flaw,) = site.flaws()
    assert flaw.kind == "metadata"
    before = {p: p.read_bytes() for p in (site.folder / "metadata").iterdir()}
    assert site.flaws() == [flaw]
    assert {p: p.read_bytes() for p in (site.folder / "metadata").iterdir()} == before


def test_an_older_copy_and_a_lost_repository_are_told_apart_from_a_new_one(site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.folder, tmp_path / "older")
    site.delivery.assign([an_assignment("lane-1", site.package, 2)], {})
    shutil.rmtree(site.folder)
    (gone,) = site.flaws()
    assert (gone.kind, gone.found) == ("metadata", None)
    shutil.copytree(tmp_path / "older", site.folder)
    (older,) = site.flaws()
    assert "older copy" in str(older.found)


def test_without_keys_files_are_compared_all_the_same(site: Site) -> None:
    site.keys.rename(site.keys.with_name("elsewhere"))
    assert site.flaws() == []
    next(site.folder.glob("targets/assignments/*.lane-3.json")).unlink()
    assert [flaw.name for flaw in site.flaws()] == ["lane-3"]


def test_a_budget_spreads_the_reading_over_looks_and_what_was_found_stays_found(site: Site) -> None:
    (path,) = site.folder.glob("targets/assignments/*.lane-7.json")
    whole = path.read_bytes()
    _change(path)
    looks = 0
    while not site.flaws(budget=1):
        looks += 1
        assert looks < 30, "a round is one look for each file"
    for _ in range(3):
        assert [flaw.name for flaw in site.flaws(budget=0)] == ["lane-7"]
    _beside(path, whole).replace(path)
    assert site.flaws(budget=0) == []


def _beside(path: Path, data: bytes) -> Path:
    beside = path.with_name(".beside")
    beside.write_bytes(data)
    return beside
