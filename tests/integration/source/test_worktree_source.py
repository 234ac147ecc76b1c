"""Snapshots of uncommitted edits."""

import os
from pathlib import Path

import pytest

from edgewright.errors import SourceError, SpecError
from edgewright.source.commits import GitSource
from edgewright.source.worktree import WorktreeSource
from samples.repositories import DATASET, FILES, MODEL, commit, make_repository, run_git, write


def test_an_unedited_folder_is_what_its_commit_is(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, {**FILES, "data.d/x": "1", "data/sub/y": "2", "data-2/z": "3"})
    (repository / "data/link").symlink_to("tags.csv")
    (repository / "data/sub/y").chmod(0o755)
    commit(repository)
    source = WorktreeSource(repository)
    assert source.revision() == "worktree:" + run_git(repository, "rev-parse", "HEAD^{tree}")
    now, committed = source.snapshot(), GitSource(repository).snapshot()
    assert now.content == committed.content
    assert dict(now.resources) == dict(committed.resources)


def test_edits_count_and_ignored_files_do_not(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, {**FILES, ".gitignore": ".edgewright/\nignored/\n"})
    write(
        repository,
        {
            "specs/dataset.yaml": DATASET.replace("name: tags", "name: tags, labels: {a: b}"),
            "specs/new.yaml": DATASET.replace("name: tags", "name: fresh"),
            "ignored/x.yaml": DATASET,
            "data/tags.csv": "store,weight,label\nb,2,y\n",
        },
    )
    (repository / "specs/rollout.yaml").unlink()
    index = (repository / ".git/index").read_bytes()
    source = WorktreeSource(repository)
    snapshot = source.snapshot()
    assert sorted(map(str, snapshot.resources)) == [
        "dataset/fresh",
        "dataset/tags",
        "fleet/stores",
        "model/reader",
        "thresholds/reader",
    ]
    edited = snapshot.dataset("tags")
    assert edited is not None
    assert edited.metadata.labels == {"a": "b"}
    assert snapshot.content["data/tags.csv"] == "git:" + run_git(repository, "hash-object", "data/tags.csv")
    assert source.read(snapshot.revision, "data/tags.csv").endswith(b"b,2,y\n")
    assert (repository / ".git/index").read_bytes() == index


def test_a_folder_replaced_by_a_link_is_not_followed(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    (tmp_path / "outside").mkdir()
    (repository / "data/tags.csv").rename(tmp_path / "outside/tags.csv")
    (repository / "data").rmdir()
    (repository / "data").symlink_to(tmp_path / "outside")
    with pytest.raises(SpecError, match=r"specs/dataset\.yaml:5:17: .* leads out of the repository"):
        WorktreeSource(repository).snapshot()


def test_before_the_first_commit(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q")
    write(tmp_path, FILES)
    assert len(WorktreeSource(tmp_path).snapshot().resources) == 5


def test_a_revision_that_is_no_longer_there(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    source = WorktreeSource(repository)
    revision = source.snapshot().revision
    write(repository, {"data/tags.csv": "other"})
    with pytest.raises(SourceError, match="the work folder has changed"):
        WorktreeSource(repository).read(revision, "data/tags.csv")
    assert source.revision() != revision


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    write(repository, {"data/tags.csv": "edited"})
    source = WorktreeSource(repository)
    revision = source.revision()
    write(repository, {"data/tags.csv": "edited again"})
    with pytest.raises(SourceError, match="changed while it was read"):
        source.read(revision, "data/tags.csv")


def test_an_edit_of_equal_size_is_seen_also_with_a_warm_cache(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    write(repository, {"specs/model.yaml": MODEL + "# a\n"})
    os.utime(repository / "specs/model.yaml", (1_000_000_000, 1_000_000_000))
    before = WorktreeSource(repository).revision()
    write(repository, {"specs/model.yaml": MODEL + "# b\n"})
    assert WorktreeSource(repository).revision() != before


def test_a_bare_repository_has_no_work_tree(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q", "--bare")
    with pytest.raises(SourceError, match="is bare"):
        WorktreeSource(tmp_path)
