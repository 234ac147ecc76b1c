"""Targets as a TUF client takes them: sizes, delegations, and use by a device."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from edgewright_agent.main import main
from rigs.tuf_client import CHAIN, Client

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
