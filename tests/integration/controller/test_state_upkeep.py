"""What serve does for its own disk: it says when it is full, removes what nothing needs, and keeps it to itself."""

import json
import os
import stat
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright import durable
from edgewright.blobs.file_store import FileBlobStore
from edgewright.durable import disk_trouble
from edgewright.source.cache import Cache
from edgewright.source.git.folder import Folder
from edgewright.wiring.environments import LiveEnvironment
from edgewright.wiring.serving import ServeOptions, assemble
from edgewright.wiring.workspace import Workspace
from harness.command_line import WHOLE, repository
from harness.preview_world import MAIN, RETRAIN, preview_world
from samples.repositories import make_repository, run_git

DAY = timedelta(days=1).total_seconds()


def test_a_full_disk_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = assemble(Workspace(repository(tmp_path / "repo", WHOLE)), ServeOptions("127.0.0.1", 0))
    supervisor = process.supervisor
    supervisor._check_disk()
    assert [check.ok for check in supervisor.health.ready().checks] == [True]
    monkeypatch.setattr(durable, "LEAST_FREE", 1 << 62)
    supervisor._disk_due = 0.0
    supervisor._check_disk()
    (check,) = supervisor.health.ready().checks
    assert (check.name, check.ok) == ("disk", False)
    assert "MiB are free" in check.message


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_trouble(tmp_path / "not" / "there" / "yet") == ""
    assert list(tmp_path.iterdir()) == []
    blocked = tmp_path / ".disk.blocked.tmp"
    blocked.mkdir()
    monkeypatch.setattr(durable, "temporary_beside", lambda _: blocked / "gone" / "x")
    assert disk_trouble(tmp_path) == "it cannot be written: No such file or directory"


def test_what_nothing_needs_is_removed_while_serving(tmp_path: Path) -> None:
    workspace = Workspace(repository(tmp_path / "repo", WHOLE))
    environment = LiveEnvironment(workspace, workspace.upstream, lambda: None)
    old, young = workspace.blobs.put_bytes(b"old"), workspace.blobs.put_bytes(b"young")
    past = time.time() - 2 * DAY
    os.utime(workspace.blobs.path(old.digest), (past, past))
    with environment.lease(threading.Event()) as lease:
        assert lease is not None
        assert "1 file with 3 bytes" in environment.collect()
    assert (workspace.blobs.has(old.digest), workspace.blobs.has(young.digest)) == (False, True)


def test_what_a_pull_request_brought_leaves_the_mirror(tmp_path: Path) -> None:
    with preview_world(tmp_path, WHOLE) as world:
        number = world.pull({**RETRAIN, "leaked.txt": "hunter2 was here by mistake\n"})
        world.previewer().preview(number)
        blob = run_git(world.work, "rev-parse", f"{world.forge.pulls[number].head}:leaked.txt").strip()
        mirror = tmp_path / "state/repository.git"
        run_git(mirror, "cat-file", "-e", blob)
        world.upstream.fetch([MAIN])
        run_git(mirror, "cat-file", "-e", blob)
        for name in ("kept.json", "tidied.json"):
            place = tmp_path / "state" / name
            values = json.loads(place.read_text())
            place.write_text(json.dumps({key: at - 4 * DAY for key, at in values.items()}))
        world.upstream.fetch([MAIN])
        found = run_git(mirror, "cat-file", "--batch-check", "--batch-all-objects")
        assert blob not in found
        assert world.upstream.resolve(MAIN) in found


def test_a_new_state_folder_is_for_nobody_else(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", dict(WHOLE))
    Workspace(repo).source.snapshot()
    assert stat.S_IMODE((repo / ".edgewright").stat().st_mode) == 0o700
    Workspace(repo, state=str(tmp_path / "a/b")).make_folder()
    Cache(tmp_path / "c/cache").put("kind", {"key": "value"})
    folder = Folder(tmp_path / "d/git", None)  # type: ignore[arg-type]  # no command is run
    with folder.held(1.0):
        pass
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "c", "d", "d/git")} == {0o700}


def test_a_blob_is_as_private_as_its_source(tmp_path: Path) -> None:
    store, source = FileBlobStore(tmp_path / "blobs"), tmp_path / "source"
    source.write_bytes(b"private")
    source.chmod(0o600)
    assert stat.S_IMODE(store.path(store.put_file(source).digest).stat().st_mode) == 0o600
    source.write_bytes(b"public")
    source.chmod(0o644)
    assert stat.S_IMODE(store.path(store.put_file(source).digest).stat().st_mode) == 0o644
