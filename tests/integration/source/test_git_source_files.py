"""Files beside the specs of a commit: code, data, what is kept of them and what is materialized."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from edgewright.errors import SourceError, SpecError
from edgewright.ports import SnapshotSource
from edgewright.source.commits import GitSource
from edgewright.source.worktree import WorktreeSource
from samples.repositories import DATASET, FILES, HEADER, MODEL, commit, make_repository, run_git, write


def problems(source: SnapshotSource) -> list[str]:
    with pytest.raises(SpecError) as caught:
        source.snapshot()
    return [str(problem) for problem in caught.value.problems]


def broken(folder: Path, changes: dict[str, str | bytes]) -> list[str]:
    return problems(GitSource(make_repository(folder, {**FILES, **changes})))


CODE_MODEL = MODEL.replace("{use: mlp}", "{use: code/net.py:Net}")
CODE = {
    "specs/model.yaml": CODE_MODEL,
    "code/net.py": "import numpy\nfrom layers import conv\nimport pkg.deep\nclass Net: pass\n",
    "code/layers.py": "from . import blocks\n",
    "code/blocks.py": "",
    "code/unrelated.py": "",
    "pkg/__init__.py": "",
    "pkg/deep.py": "import missing_library\n",
}


def test_code_is_digested_with_what_it_imports(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, {**FILES, **CODE})
    source = GitSource(repository)
    first = source.snapshot()
    assert first.code_files == {
        "code/net.py": ("code/blocks.py", "code/layers.py", "code/net.py", "pkg/__init__.py", "pkg/deep.py")
    }
    write(repository, {"code/unrelated.py": "x = 1\n"})
    commit(repository)
    assert source.snapshot().code == first.code
    write(repository, {"code/blocks.py": "x = 1\n"})
    commit(repository)
    assert source.snapshot().code != first.code


@pytest.mark.parametrize(
    ("use", "code", "expected"),
    [
        ("code/nte.py:Net", "class Net: pass", "there is no file code/nte.py (did you mean code/net.py?)"),
        ("code/net.py:Nett", "class Net: pass", "code/net.py defines no 'Nett' (did you mean Net?)"),
        ("code/net.py:Net", "class Net(:", "code/net.py is not valid Python: line 1: invalid syntax"),
        (
            "code/net.py",
            "class Net: pass",
            "expected code as path/file.py:name, found 'code/net.py' (write code/net.py:name)",
        ),
        (
            "../net.py:Net",
            "class Net: pass",
            "'../net.py' contains '..' (name files by their path below the repository's root)",
        ),
    ],
)
def test_code_references_are_checked(tmp_path: Path, use: str, code: str, expected: str) -> None:
    model = MODEL.replace("{use: mlp}", f"{{use: '{use}'}}")
    found = broken(tmp_path, {"specs/model.yaml": model, "code/net.py": code + "\n"})
    assert found == [f"specs/model.yaml:7:23: spec.architecture.use: {expected}"]


REPOSITORY = HEADER + "kind: Repository\nmetadata: {name: a}\nspec:\n"


def test_configured_paths_and_excludes(tmp_path: Path) -> None:
    settings = REPOSITORY + "  paths: [specs]\n  exclude: ['specs/drafts', '**/*.off.yaml']\n"
    extra = {
        "edgewright.yaml": settings,
        "other.yaml": DATASET,
        "specs/drafts/a.yaml": DATASET,
        "specs/x.off.yaml": DATASET,
    }
    assert len(GitSource(make_repository(tmp_path / "good", {**FILES, **extra})).snapshot().resources) == 6
    wrong = {"edgewright.yaml": REPOSITORY + "  paths: [specs, spces]\n", "specs/foreign.yaml": "a: 1\n"}
    assert [text.split(" (")[0] for text in broken(tmp_path / "bad", {**FILES, **wrong})] == [
        "edgewright.yaml:5:18: spec.paths[1]: there is no folder spces",
        "specs/foreign.yaml:1:1: missing field 'apiVersion'",
        "specs/foreign.yaml:1:1: missing field 'kind'",
    ]


def test_a_spec_counts_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    endings = (".YAML", ".Yml", ".YML")
    more = {
        f"specs/more{ending}": DATASET.replace("name: tags", f"name: more{at}") for at, ending in enumerate(endings)
    }
    found = GitSource(make_repository(tmp_path, {**FILES, **more})).snapshot()
    assert {str(address) for address in found.resources} >= {f"dataset/more{at}" for at in range(len(endings))}


def test_a_repository_document_elsewhere(tmp_path: Path) -> None:
    assert broken(tmp_path, {"specs/edgewright.yaml": REPOSITORY + "  paths: ['.']\n"}) == [
        "specs/edgewright.yaml:1:1: a Repository document belongs in edgewright.yaml at the root (move or remove it)"
    ]


def test_results_are_kept_by_id_and_damage_only_costs_time(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    first = GitSource(repository)
    expected = {address: resource.document for address, resource in first.snapshot().resources.items()}
    first.close()
    (cache,) = (repository / ".edgewright/cache").glob("*.sqlite")
    blob = run_git(repository, "rev-parse", "HEAD:specs/model.yaml")
    object_file = repository / ".git/objects" / blob[:2] / blob[2:]
    content = object_file.read_bytes()
    object_file.unlink()
    assert len(GitSource(repository).snapshot().resources) == 5  # The object is not needed any more.
    object_file.write_bytes(content)
    with sqlite3.connect(cache) as db:
        db.execute("UPDATE entries SET value = replace(value, 'reader', 'raeder')")
    db.close()
    again = GitSource(repository)
    assert {address: resource.document for address, resource in again.snapshot().resources.items()} == expected
    again.close()
    cache.write_bytes(b"no database" * 1000)
    assert len(GitSource(repository).snapshot().resources) == 5
    assert len(GitSource(repository).snapshot().resources) == 5


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    (repository / ".edgewright").write_text("a file where a folder should be")
    assert len(GitSource(repository).snapshot().resources) == 5


def test_materialize_writes_what_is_asked_and_leaves_what_is_equal(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", {**FILES, "tool.sh": "#!/bin/sh\n", "data/sub/deep.bin": b"\0\xff"})
    (repository / "tool.sh").chmod(0o755)
    (repository / "data/link.csv").symlink_to("tags.csv")
    revision = commit(repository)
    source, into = GitSource(repository), tmp_path / "out"
    source.materialize(revision, ["data", "tool.sh"], into)
    assert {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()} == {
        "data/link.csv",
        "data/sub/deep.bin",
        "data/tags.csv",
        "tool.sh",
    }
    assert not (into / "data/link.csv").is_symlink()
    assert stat.S_IMODE((into / "tool.sh").stat().st_mode) == 0o755
    os.utime(into / "data/tags.csv", (1, 1))
    (into / "data/sub/deep.bin").write_bytes(b"changed")
    source.materialize(revision, ["data"], into)
    assert (into / "data/tags.csv").stat().st_mtime == 1
    assert (into / "data/sub/deep.bin").read_bytes() == b"\0\xff"
    with pytest.raises(SourceError, match=r"data/tag\.csv is not in this revision") as caught:
        source.materialize(revision, ["data/tag.csv"], into)
    assert caught.value.hint == "did you mean data/tags.csv?"


def test_a_hooks_environment_names_no_other_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path / "here")
    other = make_repository(tmp_path / "other", {"a": "b"})
    expected = GitSource(repository).revision()
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert GitSource(repository).snapshot().revision == expected
    assert len(WorktreeSource(repository).snapshot().resources) == 5


def test_a_huge_file_is_only_a_problem_when_it_is_a_spec(tmp_path: Path) -> None:
    huge = "# " + "x" * (2 << 20) + "\n"
    assert broken(tmp_path, {"specs/huge.yaml": HEADER + huge, "dump.yaml": "a: 1\n" + huge}) == [
        "specs/huge.yaml:1:1: larger than 1,048,576 bytes (divide it; data does not belong in specs)"
    ]


def test_a_file_is_checked_again_when_its_folder_becomes_one_for_specs(tmp_path: Path) -> None:
    foreign = "apiVersion: v1\nkind: ConfigMap\n---\n"
    repository = make_repository(tmp_path, {**FILES, "specs/mixed.yaml": foreign + DATASET.replace("tags", "more", 1)})
    assert len(GitSource(repository).snapshot().resources) == 6
    write(repository, {"edgewright.yaml": REPOSITORY + "  paths: [specs]\n"})
    commit(repository)
    assert problems(GitSource(repository)) == [
        "specs/mixed.yaml:1:13: unknown apiVersion: text 'v1' (write edgewright.dev/v1alpha1)",
        "specs/mixed.yaml:2:7: unknown kind: text 'ConfigMap' "
        "(known: Dataset, Fleet, Model, Repository, Rollout, Thresholds)",
    ]


def test_a_path_to_a_file_finds_its_repository(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    assert GitSource(repository / "specs/model.yaml").root == repository.resolve()


@pytest.mark.parametrize("name", ["..", ".", "../../escaped"])
def test_a_forged_folder_is_not_written_beside_its_place(tmp_path: Path, name: str) -> None:
    """Git makes no such folder, and takes one that is pushed; a forge would refuse it."""
    repository = make_repository(tmp_path / "repository")
    blob = bytes.fromhex(run_git(repository, "hash-object", "-w", "data/tags.csv"))
    forged = tmp_path / "forged"
    forged.write_bytes(b"100644 " + name.encode() + b"\0" + blob)
    tree = run_git(repository, "hash-object", "-t", "tree", "-w", "--literally", str(forged))
    outer = tmp_path / "outer"
    outer.write_bytes(b"40000 data\0" + bytes.fromhex(tree))
    root = run_git(repository, "hash-object", "-t", "tree", "-w", "--literally", str(outer))
    revision = run_git(repository, "commit-tree", "-m", "forged", root)
    into = tmp_path / "into/checkout"
    with pytest.raises(SourceError, match="is no folder as Git makes them"):
        GitSource(repository).materialize(revision, ["data"], into)
    assert not (tmp_path / "escaped").exists()
