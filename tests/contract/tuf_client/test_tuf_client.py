"""The device's TUF client, driven as public conformance suites drive one: over HTTP, against repositories that are
sound, odd, broken or hostile. What is asserted is what such a suite sees: exit codes, trusted metadata, downloads and
requests.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from clients import require_client
from edgewright_agent.main import main
from servers.repository_server import Repository, serving
from servers.tuf_simulator import TufSimulator

CHAIN = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
"""What a first refresh asks for."""


class Client:
    """The client under test, and the server it talks to."""

    def __init__(self, path: Path, url: str, server: Repository, simulator: TufSimulator) -> None:
        self.metadata = path / "client" / "metadata"
        self.targets = path / "client" / "targets"
        self.simulator = simulator
        self._root = path / "initial_root.json"
        self._url = url
        self._server = server

    def init(self, root: bytes | None = None) -> int:
        self._root.write_bytes(self.simulator.first_root if root is None else root)
        return main(["tuf", "--metadata-dir", str(self.metadata), "init", str(self._root)])

    def arguments(self) -> list[str]:
        return ["tuf", "--metadata-url", f"{self._url}/metadata/", "--metadata-dir", str(self.metadata)]

    def refresh(self) -> int:
        return main([*self.arguments(), "refresh"])

    def download(self, *names: str) -> int:
        wanted = [word for name in names for word in ("--target-name", name)]
        where = ["--target-dir", str(self.targets), "--target-base-url", f"{self._url}/targets/"]
        return main([*self.arguments(), *wanted, *where, "download"])

    def versions(self) -> dict[str, int]:
        """What is trusted, by role."""
        return {
            path.name.removesuffix(".json"): json.loads(path.read_bytes())["signed"]["version"]
            for path in self.metadata.glob("*.json")
        }

    def downloads(self) -> list[bytes]:
        """Everything in the directory of targets."""
        return sorted(path.read_bytes() for path in self.targets.rglob("*")) if self.targets.is_dir() else []

    def asked(self) -> list[str]:
        """What was asked for since the last time."""
        paths = [path.removeprefix("metadata/") for path in self._server.paths()]
        self._server.asked.clear()
        return paths


@pytest.fixture
def simulator(tmp_path: Path) -> TufSimulator:
    return TufSimulator(tmp_path / "repository")


@pytest.fixture
def client(tmp_path: Path, simulator: TufSimulator) -> Iterator[Client]:
    with serving(simulator.path) as (url, server):
        made = Client(tmp_path, url, server, simulator)
        assert made.init() == 0
        yield made


def test_a_first_refresh_takes_up_everything_as_it_was_served(client: Client) -> None:
    assert client.versions() == {"root": 1}
    assert client.asked() == []
    assert client.refresh() == 0
    assert client.asked() == CHAIN
    assert {path.name: path.read_bytes() for path in client.metadata.glob("*.json")} == {
        "root.json": client.simulator.first_root,
        "timestamp.json": client.simulator.served("timestamp.json"),
        "snapshot.json": client.simulator.served("1.snapshot.json"),
        "targets.json": client.simulator.served("1.targets.json"),
    }


def test_a_second_refresh_fetches_only_what_may_have_changed(client: Client) -> None:
    client.refresh()
    client.asked()
    assert client.refresh() == 0
    assert client.asked() == ["2.root.json", "timestamp.json"]
    client.simulator.publish(Targets.type, Snapshot.type, Timestamp.type)
    assert client.refresh() == 0
    assert client.asked() == ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]
    assert client.versions() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}


@pytest.mark.parametrize("damage", ["no version", "wrong signature", "no json", "not root"])
def test_a_root_that_cannot_be_trusted_is_refused_before_anything_is_asked(client: Client, damage: str) -> None:
    shutil.rmtree(client.metadata)
    root = json.loads(client.simulator.first_root)
    if damage == "no version":
        del root["signed"]["version"]
    elif damage == "wrong signature":
        root["signatures"][0]["sig"] = "00" * 64
    data = json.dumps(root).encode()
    if damage == "no json":
        data = b"<html>"
    elif damage == "not root":
        data = client.simulator.served("timestamp.json")
    assert client.init(data) == 1
    assert client.refresh() == 1
    assert client.asked() == []


def test_fields_nobody_knows_count_for_signatures_and_do_no_harm(client: Client) -> None:
    client.simulator.root.unrecognized_fields["custom"] = {"a": 1}
    client.simulator.publish(Root.type)
    assert client.refresh() == 0
    assert client.versions()["root"] == 2
    assert client.metadata.joinpath("root.json").read_bytes() == client.simulator.served("2.root.json")


def test_a_repository_without_consistent_snapshots(tmp_path: Path) -> None:
    simulator = TufSimulator(tmp_path / "plain", consistent=False)
    simulator.add("folder/file", b"content")
    simulator.publish_all()
    with serving(simulator.path) as (url, server):
        client = Client(tmp_path, url, server, simulator)
        assert client.init() == 0
        assert client.download("folder/file") == 0
        assert client.asked() == [
            "2.root.json",
            "timestamp.json",
            "snapshot.json",
            "targets.json",
            "targets/folder/file",
        ]
        assert client.downloads() == [b"content"]


# ── root ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_of_every_role_are_rotated_over_several_roots_at_once(client: Client) -> None:
    client.refresh()
    for role in (Timestamp.type, Snapshot.type, Targets.type):
        client.simulator.rotate(role)
        client.simulator.publish(Root.type)
    client.simulator.publish_all()
    client.asked()
    assert client.refresh() == 0
    assert client.asked()[:4] == ["2.root.json", "3.root.json", "4.root.json", "5.root.json"]
    assert client.versions() == {"root": 4, "timestamp": 2, "snapshot": 2, "targets": 2}


def test_root_keys_are_handed_over_by_the_old_and_the_new(client: Client) -> None:
    old = list(client.simulator.signers[Root.type])
    client.simulator.rotate(Root.type, count=2)
    client.simulator.root.roles[Root.type].threshold = 2
    client.simulator.signers[Root.type] += old
    client.simulator.publish(Root.type)
    assert client.refresh() == 0
    assert client.versions()["root"] == 2


def test_a_root_only_its_new_keys_signed_is_refused(client: Client) -> None:
    client.simulator.rotate(Root.type)
    client.simulator.publish(Root.type)
    assert client.refresh() == 1
    assert client.versions() == {"root": 1}


def test_a_root_under_another_version_is_refused(client: Client) -> None:
    client.simulator.root.version = 5
    client.simulator.publish(Root.type)
    path = client.simulator.path / "metadata"
    (path / "6.root.json").rename(path / "2.root.json")
    assert client.refresh() == 1
    assert client.versions() == {"root": 1}


def test_an_expired_root_is_kept_and_nothing_is_taken_up_by_it(client: Client) -> None:
    client.refresh()
    client.simulator.root.expires = datetime.now(UTC) - timedelta(days=1)
    client.simulator.publish(Root.type)
    client.simulator.publish_all()
    assert client.refresh() == 1
    assert client.versions() == {"root": 2, "timestamp": 1, "snapshot": 1, "targets": 1}


def test_an_expired_root_on_the_way_to_a_sound_one_is_no_hindrance(client: Client) -> None:
    sound = client.simulator.root.expires
    client.simulator.root.expires = datetime.now(UTC) - timedelta(days=1)
    client.simulator.publish(Root.type)
    client.simulator.root.expires = sound
    client.simulator.publish(Root.type)
    assert client.refresh() == 0
    assert client.versions()["root"] == 3


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", [Timestamp.type, Snapshot.type, Targets.type])
def test_a_role_signed_by_somebody_else_is_refused(client: Client, role: str) -> None:
    client.refresh()
    before = client.versions()
    client.simulator.signers[role] = [CryptoSigner.generate_ed25519()]
    client.simulator.publish_all()
    assert client.refresh() == 1
    assert client.versions()[role] == before[role]


def test_a_threshold_is_a_number_of_keys_not_of_signatures(client: Client) -> None:
    client.refresh()
    role = client.simulator.root.roles[Snapshot.type]
    role.threshold = 2
    client.simulator.publish(Root.type)
    client.simulator.publish_all()
    assert client.refresh() == 1

    second = CryptoSigner.generate_ed25519()
    client.simulator.root.add_key(second.public_key, Snapshot.type)
    client.simulator.publish(Root.type)
    assert client.refresh() == 1, "one key signed, two are asked for"

    client.simulator.signers[Snapshot.type].append(second)
    client.simulator.publish_all()
    assert client.refresh() == 0
    assert client.versions() == {"root": 3, "timestamp": 3, "snapshot": 3, "targets": 3}


# ── going back, standing still, mixing ────────────────────────────────────────────────────────────────────────────


def test_an_older_timestamp_is_refused(client: Client) -> None:
    client.simulator.publish(Timestamp.type)
    client.refresh()
    client.simulator.timestamp.version = 1
    client.simulator.publish(Timestamp.type, bump=False)
    assert client.refresh() == 1
    assert client.versions()["timestamp"] == 2


def test_another_timestamp_of_the_same_version_is_not_taken_up(client: Client) -> None:
    client.refresh()
    kept = (client.metadata / "timestamp.json").read_bytes()
    client.simulator.timestamp.snapshot_meta.version = 100
    client.simulator.publish(Timestamp.type, bump=False)
    assert client.refresh() == 0
    assert (client.metadata / "timestamp.json").read_bytes() == kept


@pytest.mark.parametrize("hashed", [False, True])
def test_an_older_snapshot_is_refused(client: Client, hashed: bool) -> None:
    client.simulator.hashed = hashed
    client.simulator.publish(Snapshot.type, Timestamp.type)
    assert client.refresh() == 0
    client.simulator.snapshot.version = 1
    client.simulator.publish(Snapshot.type, bump=False)
    client.simulator.publish(Timestamp.type)
    assert client.refresh() == 1
    assert client.versions() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1}


@pytest.mark.parametrize("hashed", [False, True])
def test_older_targets_are_refused(client: Client, hashed: bool) -> None:
    client.simulator.hashed = hashed
    client.simulator.publish_all()
    assert client.refresh() == 0
    client.simulator.targets.version = 1
    client.simulator.publish(Targets.type, bump=False)
    client.simulator.publish(Snapshot.type, Timestamp.type)
    assert client.refresh() == 1
    assert client.versions()["targets"] == 2


def test_a_snapshot_that_is_not_the_one_the_timestamp_names_is_refused(client: Client) -> None:
    path = client.simulator.path / "metadata"
    client.simulator.publish(Snapshot.type)
    shutil.copy(path / "2.snapshot.json", path / "1.snapshot.json")
    assert client.refresh() == 1
    assert client.versions() == {"root": 1, "timestamp": 1}


def test_targets_of_another_snapshot_are_refused(client: Client) -> None:
    """Mix and match: each file is signed, and they do not belong together."""
    client.simulator.hashed = True
    client.simulator.publish_all()
    path = client.simulator.path / "metadata"
    client.simulator.add("new", b"content")
    client.simulator.publish(Targets.type)
    shutil.copy(path / "3.targets.json", path / "2.targets.json")
    assert client.refresh() == 1
    assert "targets" not in client.versions()


def test_a_repository_that_was_driven_too_far_ahead_recovers_with_new_keys(client: Client) -> None:
    client.simulator.timestamp.version = client.simulator.snapshot.version = 99_999
    client.simulator.publish(Snapshot.type, Timestamp.type)
    assert client.refresh() == 0
    assert client.versions()["snapshot"] == 100_000

    client.simulator.rotate(Timestamp.type)
    client.simulator.rotate(Snapshot.type)
    client.simulator.publish(Root.type)
    client.simulator.timestamp.version = client.simulator.snapshot.version = 0
    client.simulator.publish(Snapshot.type, Timestamp.type)
    assert client.refresh() == 0
    assert client.versions() == {"root": 2, "timestamp": 1, "snapshot": 1, "targets": 1}


@pytest.mark.parametrize("role", [Timestamp.type, Snapshot.type, Targets.type])
def test_an_expired_role_is_not_taken_up(client: Client, role: str) -> None:
    client.refresh()
    client.simulator.signed(role).expires = datetime.now(UTC) - timedelta(days=5)
    client.simulator.publish_all()
    assert client.refresh() == 1
    assert client.versions()[role] == 1


def test_what_expired_on_the_device_is_good_enough_to_go_on_from(client: Client) -> None:
    """A device that slept for weeks takes up the newest state, and still refuses to go back."""
    faketime = require_client("faketime")
    client.simulator.timestamp.expires = datetime.now(UTC) + timedelta(days=7)
    client.simulator.publish(Timestamp.type)
    assert client.refresh() == 0
    client.simulator.timestamp.expires = datetime.now(UTC) + timedelta(days=21)
    client.simulator.publish_all()

    def in_days(days: int) -> int:
        command = [
            faketime,
            "-f",
            f"+{days}d",
            sys.executable,
            "-m",
            "edgewright_agent",
            *client.arguments(),
            "refresh",
        ]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode

    assert in_days(18) == 0
    assert client.versions() == {"root": 1, "timestamp": 3, "snapshot": 2, "targets": 2}
    assert in_days(22) == 1


# ── sizes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def endless(data: bytes) -> Iterator[bytes]:
    while True:
        yield data.ljust(65536)


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_metadata_without_an_end_is_cut_off(client: Client, name: str) -> None:
    client._server.lies[f"metadata/{name}"] = endless
    assert client.refresh() == 1
    assert max(asked.sent for asked in client._server.asked) < 16_000_000
    client._server.lies.clear()
    assert client.refresh() == 0


def test_a_target_without_an_end_is_cut_off(client: Client) -> None:
    client.simulator.add("file", b"content")
    client.simulator.publish_all()
    info = client.simulator.targets.targets["file"]
    client._server.lies[f"targets/{info.hashes['sha256']}.file"] = endless
    assert client.download("file") == 1
    assert client.downloads() == []


# ── targets ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_download_refreshes_and_says_when_there_is_no_such_target(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.download("nothing") == 1
    assert client.asked() == CHAIN
    assert "nothing: the repository signs no such target" in capsys.readouterr().err


def test_a_target_is_downloaded_once_and_again_when_it_changed(client: Client) -> None:
    client.simulator.add("path/to/a/file.txt", b"content")
    client.simulator.publish_all()
    assert client.download("path/to/a/file.txt") == 0
    assert client.downloads() == [b"content"]
    client.asked()
    assert client.download("path/to/a/file.txt") == 0
    assert not [path for path in client.asked() if path.startswith("targets/")]

    client.simulator.add("path/to/a/file.txt", b"changed")
    client.simulator.publish_all()
    assert client.download("path/to/a/file.txt") == 0
    assert client.downloads() == [b"changed"]


def test_a_target_somebody_exchanged_is_not_taken(client: Client) -> None:
    for name in ("one", "other"):
        client.simulator.add(name, b"content")
    client.simulator.publish_all()
    assert client.download("one") == 0
    for path in (client.simulator.path / "targets").iterdir():
        path.write_bytes(b"malware")
    assert client.download("one") == 0, "it is on the device already"
    assert client.download("other") == 1
    assert client.downloads() == [b"content"]


def test_several_targets_at_once_and_the_sound_ones_arrive(client: Client) -> None:
    client.simulator.add("one", b"1")
    client.simulator.add("two", b"2")
    client.simulator.publish_all()
    assert client.download("one", "nothing", "two") == 1
    assert client.downloads() == [b"1", b"2"]
    assert client.asked().count("timestamp.json") == 1


@pytest.mark.parametrize("name", ["a b", "per%20cent", "ques?tion", "ha#sh", "ümlaut", "..x", "a+b"])
def test_an_unusual_name_of_a_target(client: Client, name: str) -> None:
    client.simulator.add(name, b"content")
    client.simulator.publish_all()
    assert client.download(name) == 0
    assert client.downloads() == [b"content"]


@pytest.mark.parametrize("name", ["?", "#", "/role", "../role", "a b", "ro%le"])
def test_an_unusual_name_of_a_role_is_quoted_and_kept_inside(client: Client, name: str) -> None:
    client.simulator.delegate(Targets.type, name)
    client.simulator.publish_all()
    assert client.download("nothing") == 1
    assert f"1.{quote(name, safe='')}.json" in client.asked()
    assert len(client.versions()) == 5
    assert all(path.parent == client.metadata for path in client.metadata.rglob("*.json") if "history" not in str(path))


# ── delegations ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_delegations_are_searched_depth_first_and_by_path(client: Client) -> None:
    repository = client.simulator
    repository.delegate(Targets.type, "a", ["*.py"])
    repository.delegate(Targets.type, "b")
    repository.delegate("b", "c")
    repository.delegate("c", "b")
    repository.delegate(Targets.type, "d")
    repository.add("deep", b"from c", "c")
    repository.add("deep", b"from d", "d")
    repository.publish_all()
    assert client.download("deep") == 0
    assert client.asked()[4:-1] == ["1.b.json", "1.c.json"]
    assert client.downloads() == [b"from c"]
    assert client.download("nothing") == 1
    assert client.asked()[2:] == ["1.d.json"], "what was verified already is not fetched again"


def test_a_terminating_delegation_ends_the_search(client: Client) -> None:
    repository = client.simulator
    repository.delegate(Targets.type, "a", terminating=True)
    repository.delegate(Targets.type, "b")
    repository.add("file", b"content", "b")
    repository.publish_all()
    assert client.download("file") == 1
    assert client.asked()[4:] == ["1.a.json"]


def test_a_target_of_a_role_that_may_not_sign_for_it_is_not_found(client: Client) -> None:
    client.simulator.delegate(Targets.type, "a", ["mine/*"])
    client.simulator.add("yours/file", b"content", "a")
    client.simulator.publish_all()
    assert client.download("yours/file") == 1
    assert client.downloads() == []


def test_hash_bins(client: Client) -> None:
    bins = client.simulator.delegate_bins("bins", 3)
    for number in range(4):
        path = f"file-{number}"
        client.simulator.add(path, path.encode(), bins.get_role_for_target(path))
    client.simulator.publish_all()
    assert client.download("file-0", "file-1", "file-2", "file-3") == 0
    assert client.downloads() == [b"file-0", b"file-1", b"file-2", b"file-3"]


def test_a_role_is_verified_for_each_role_that_delegates_to_it(client: Client) -> None:
    """Being trusted by one delegator makes a role nothing for another one, which names other keys."""
    repository = client.simulator
    repository.delegate(Targets.type, "a", ["a/*"])
    repository.delegate(Targets.type, "b", ["b/*"])
    repository.delegate("a", "shared", ["*/*"])
    honest = repository.signers.pop("shared")
    repository.delegate("b", "shared", ["*/*"])
    repository.signers["shared"] = honest
    for name in ("a/file", "b/file"):
        repository.add(name, name.encode(), "shared")
    repository.publish_all()
    assert client.download("a/file", "b/file") == 1
    assert client.downloads() == [b"a/file"]


def test_a_delegated_role_that_went_back_is_refused(client: Client) -> None:
    repository = client.simulator
    repository.delegate(Targets.type, "a")
    repository.publish_all()
    repository.publish_all()
    assert client.download("nothing") == 1
    assert client.versions()["a"] == 2
    repository.delegated["a"].version = 1
    repository.publish("a", bump=False)
    repository.publish(Snapshot.type, Timestamp.type)
    assert client.refresh() == 1
    assert client.versions()["a"] == 2


# ── use ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repository_in_a_directory_is_verified_the_same(client: Client, tmp_path: Path) -> None:
    client.simulator.add("folder/file", b"content")
    client.simulator.publish_all()
    base = client.simulator.path.as_uri()
    where = ["--metadata-dir", str(client.metadata), "--metadata-url", f"{base}/metadata"]
    target = [
        "--target-name",
        "folder/file",
        "--target-dir",
        str(client.targets),
        "--target-base-url",
        f"{base}/targets",
    ]
    command = [sys.executable, "-m", "edgewright_agent", "tuf", *where, *target, "download"]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    assert client.downloads() == [b"content"]


def test_a_server_that_is_gone_or_broken_is_told(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    client._server.statuses["metadata/timestamp.json"] = 500
    assert client.refresh() == 1
    assert "HTTP 500" in capsys.readouterr().err
    client._server.statuses = {"metadata/2.root.json": 503}
    assert client.refresh() == 1
    client._server.statuses = {"metadata/2.root.json": 403}
    assert client.refresh() == 0, "a store that hides what is not there says 403"


def test_what_is_missing_on_the_command_line_is_told_at_once(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tuf", "--metadata-dir", str(client.metadata), "download"]) == 1
    error = capsys.readouterr().err
    for option in ("--metadata-url", "--target-name", "--target-dir", "--target-base-url"):
        assert option in error
    assert main(["tuf", "--metadata-dir", "/nowhere/at/all", "--metadata-url", "http://127.0.0.1:1", "refresh"]) == 1
    assert "set it up with" in capsys.readouterr().err


def test_lost_trusted_metadata_is_fetched_again(client: Client) -> None:
    client.refresh()
    for path in client.metadata.glob("*.json"):
        path.unlink()
    shutil.rmtree(client.metadata / "root_history")
    assert client.refresh() == 0
    assert Metadata.from_bytes((client.metadata / "root.json").read_bytes()).signed.version == 1
