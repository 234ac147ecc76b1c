"""The device's TUF client, driven as public conformance suites drive one: over HTTP, against repositories that are
sound, odd, broken or hostile. What is asserted is what such a suite sees: exit codes, trusted metadata, downloads and
requests.
"""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from clients import require_client
from rigs.tuf_client import CHAIN, Client
from servers.repository_server import serving
from servers.tuf_simulator import TufSimulator


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
