"""Bundles as others read them: cpio, OpenSSL, SWUpdate, RAUC, and a plain shell on a device without an installer."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import require_client
from edgewright.delivery.bundles.cache import BuiltBundle, BundleCache
from edgewright.delivery.bundles.maker import BundleMaker
from edgewright.delivery.bundles.orders import BundleOrder
from edgewright.delivery.identity.credentials import create_credentials
from edgewright.errors import DeliveryError
from edgewright_agent.durable import Disk
from edgewright_agent.models.slots import ModelSlots
from edgewright_schemas.delivery import Delivery
from edgewright_wire.messages import ModelAssignment
from edgewright_wire.slots import Slot
from harness.cpio_files import read_cpio
from rigs.base import Grounds
from rigs.ddi import program

SHELLS = ("sh", "busybox")


class Workshop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.grounds = Grounds(folder, Delivery.model_validate({"type": "ddi"}))
        create_credentials(self.grounds.keys)
        self.files: dict[str, bytes] = {}
        self.maker = BundleMaker(folder / "cache", self.grounds.keys, self.grounds.depot, self.files.__getitem__)

    def make(self, target: ModelAssignment | None, **delivery: object) -> BuiltBundle:
        self.grounds.depot.keep(self.grounds.configs())
        ways = {"type": "ddi", "root": str(self.folder / "root"), **delivery}
        return self.maker.make(BundleOrder("reader", target, Delivery.model_validate(ways)))


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path)
    yield made
    made.grounds.close()


def test_cpio_and_openssl_read_what_is_written(workshop: Workshop, tmp_path: Path) -> None:
    cpio, openssl = require_client("cpio"), require_client("openssl")
    bundle = workshop.make(workshop.grounds.release(1, config=b"x"))
    folder = tmp_path / "unpacked"
    folder.mkdir()

    with bundle.path.open("rb") as archive:
        subprocess.run([cpio, "-idm", "--quiet"], check=True, stdin=archive, cwd=folder)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict(read_cpio(bundle.path.read_bytes()))
    certificate = workshop.grounds.keys / "bundles.crt"
    check = [openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", "sw-description.sig", "-CAfile"]
    check += [str(certificate), "-content", "sw-description", "-purpose", "any"]
    verified = subprocess.run(check, check=True, capture_output=True, cwd=folder)
    assert verified.stdout == (folder / "sw-description").read_bytes()


def test_swupdate_and_rauc_find_bundles_sound(workshop: Workshop) -> None:
    certificate = workshop.grounds.keys / "bundles.crt"
    release = workshop.grounds.release(1)
    swupdate, rauc = require_client("swupdate"), require_client("rauc")
    require_client("mksquashfs")
    for target in (release, None):
        swu = workshop.make(target)
        checked = [swupdate, "-c", "-i", str(swu.path), "-k", str(certificate), "-H", "edge:1.0"]
        subprocess.run(checked, check=True, capture_output=True, timeout=60)
        raucb = workshop.make(target, ddi={"bundle": {"format": "rauc", "compatible": "lane"}})
        info = [rauc, "info", "--output-format=json", f"--keyring={certificate}", str(raucb.path)]
        said = json.loads(subprocess.run(info, check=True, capture_output=True).stdout)
        assert said["compatible"] == "lane"


def test_a_bundle_depends_on_what_it_does_and_on_nothing_else(workshop: Workshop) -> None:
    first, second = workshop.grounds.release(1), workshop.grounds.release(2)

    keys = [workshop.make(first).key for _ in range(2)]
    others = [
        workshop.make(second).key,
        workshop.make(None).key,
        workshop.make(first, root="/elsewhere").key,
        workshop.make(first, proof="installed").key,
        workshop.make(first, installer="other").key,
        workshop.make(first, ddi={"bundle": {"hardware": ["2"]}}).key,
    ]
    assert len({*keys, *others}) == 1 + len(others)


def test_a_fleets_own_descriptor_takes_the_place_of_ours(workshop: Workshop) -> None:
    workshop.files["own.j2"] = b'software = { version = "{{ version }}"; own = "{{ files | length }}"; };'
    bundle = workshop.make(workshop.grounds.release(1), ddi={"bundle": {"template": "own.j2"}})

    assert dict(read_cpio(bundle.path.read_bytes()))["sw-description"].endswith(b'own = "5"; };')
    workshop.files["own.j2"] = b"\xff"
    with pytest.raises(DeliveryError, match=r"own\.j2 is not UTF-8"):
        workshop.make(workshop.grounds.release(2), ddi={"bundle": {"template": "own.j2"}})


def test_bundles_for_rauc_need_its_programs(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workshop.folder))
    with pytest.raises(DeliveryError, match="rauc") as refused:
        workshop.make(workshop.grounds.release(1), ddi={"bundle": {"format": "rauc"}})

    assert "apt-get install rauc squashfs-tools" in refused.value.hint


# ── devices without an installer ──────────────────────────────────────────────────────────────────────────────────────


def run_plain(workshop: Workshop, target: ModelAssignment | None, shell: str, path: str = "/usr/bin:/bin") -> int:
    """Unpack a bundle as SWUpdate does, and run its script."""
    bundle = workshop.make(target, proof="installed")
    files = dict(read_cpio(bundle.path.read_bytes()))
    description = files["sw-description"].decode()
    for entry, rest in ((part.split('"')[0], part) for part in description.split('filename = "')[1:]):
        if 'path = "' in rest:
            place = Path(rest.split('path = "')[1].split('"')[0])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(files[entry])
    script = workshop.folder / "install.sh"
    script.write_bytes(files["install.sh"])
    command = [*([require_client("busybox"), "sh"] if shell == "busybox" else ["sh"]), str(script), "postinst"]
    return subprocess.run(command, check=False, capture_output=True, env={"PATH": path}).returncode


@pytest.mark.parametrize("shell", SHELLS)
def test_a_plain_shell_fills_slots_as_the_agent_reads_them(workshop: Workshop, shell: str) -> None:
    first, second = workshop.grounds.release(1, config=b"one"), workshop.grounds.release(2)
    slots = ModelSlots(workshop.folder / "root/models/reader", Disk())

    for target, slot in ((first, Slot.A), (first, Slot.A), (second, Slot.B), (first, Slot.A)):
        assert run_plain(workshop, target, shell) == 0
        assert slots.active() is slot
        assert slots.holds(slot) == target
        assert slots.damaged(slot) == ()
    assert not (workshop.folder / "root/incoming").exists()
    assert run_plain(workshop, None, shell) == 0
    assert not (workshop.folder / "root/models/reader").exists()


def test_a_full_disk_leaves_what_ran_before(workshop: Workshop) -> None:
    first, second = workshop.grounds.release(1), workshop.grounds.release(2)
    assert run_plain(workshop, first, "sh") == 0
    full = program(workshop.folder / "full/cp", "exit 1").parent

    assert run_plain(workshop, second, "sh", f"{full}:/usr/bin:/bin") == 1

    slots = ModelSlots(workshop.folder / "root/models/reader", Disk())
    assert (slots.active(), slots.holds(Slot.A)) == (Slot.A, first)


# ── the cache ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_who_ask_at_once_have_it_built_once(tmp_path: Path) -> None:
    built: list[int] = []
    begin = threading.Barrier(8)

    def build(path: Path) -> None:
        built.append(1)
        time.sleep(0.05)  # long enough for all to have asked
        path.write_bytes(b"bundle")

    def ask() -> None:
        begin.wait()
        found.append(BundleCache(tmp_path).get("key", "x.swu", build))

    found: list[BuiltBundle] = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(built), len(set(found)), len(found)) == (1, 1, 8)


def test_the_cache_is_bounded_but_for_what_is_needed(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"x" * 1000)

    cache = BundleCache(tmp_path, limit=2500)
    for number in range(4):
        cache.get(f"key-{number}", "x.swu", build, lambda: ["key-0"])

    assert cache.find("key-0") is not None
    assert cache.find("key-1") is None
    assert cache.find("key-3") is not None


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"half")
        raise DeliveryError("no")

    with pytest.raises(DeliveryError):
        BundleCache(tmp_path).get("key", "x.swu", build)

    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
