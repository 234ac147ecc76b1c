"""A shared folder that somebody hostile writes to as well: nothing is written or read through it."""

import os
import time
from pathlib import Path

import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotFound
from edgewright_agent.repository.transport import DirectoryDrop, DirectoryRepository


@pytest.mark.parametrize("name", [".lane-1.json.new", "lane-1.json"])
def test_a_report_is_not_written_through_a_link(tmp_path: Path, name: str) -> None:
    drop, precious = tmp_path / "drop", tmp_path / "precious"
    drop.mkdir()
    precious.write_text("mine")
    (drop / name).symlink_to(precious)
    DirectoryDrop(drop, Disk()).send("lane-1", b"{}")
    assert precious.read_text() == "mine"
    assert (drop / "lane-1.json").read_bytes() == b"{}"
    assert not (drop / "lane-1.json").is_symlink()


def test_no_file_of_the_agents_own_is_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".state.json.new").symlink_to(precious)
    (tmp_path / "blob").symlink_to(precious)
    Disk().write(tmp_path / "state.json", b"{}", 0o600)
    with pytest.raises(OSError, match="symbolic links"):
        Disk().append(tmp_path / "blob", b"x", 0)
    assert precious.read_text() == "mine"


def test_what_power_cuts_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    old, young, other = (tmp_path / f".lane-{name}.new" for name in ("1.json.aa", "1.json.bb", "2.json.cc"))
    for each in (old, young, other):
        each.write_text("half")
    for each in (old, other):
        os.utime(each, (time.time() - 7200,) * 2)
    DirectoryDrop(tmp_path, Disk()).send("lane-1", b"{}")
    assert {path.name for path in tmp_path.iterdir()} == {"lane-1.json", young.name, other.name}


def test_a_repository_is_read_within_itself_and_without_waiting(tmp_path: Path) -> None:
    shared, secret = tmp_path / "shared", tmp_path / "secret"
    (shared / "metadata").mkdir(parents=True)
    secret.write_text("hunter2")
    (shared / "metadata/1.root.json").write_text("{}")
    (shared / "metadata/inside.json").symlink_to("1.root.json")
    (shared / "metadata/outside.json").symlink_to(secret)
    (shared / "away").symlink_to(tmp_path)
    os.mkfifo(shared / "metadata/pipe.json")
    repository = DirectoryRepository(shared)
    assert b"".join(repository.read("metadata/inside.json")) == b"{}"
    for path in ("metadata/outside.json", "away/secret", "metadata/pipe.json", "metadata"):
        with pytest.raises(NotFound):
            list(repository.read(path))
