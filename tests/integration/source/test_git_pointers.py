"""Files that Git holds only a pointer to."""

from pathlib import Path

import pytest

from edgewright.errors import SourceError, SpecError
from edgewright.source.commits import GitSource
from samples.repositories import FILES, make_repository

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 12345\n"


def test_data_that_is_a_pointer_is_said_so(tmp_path: Path) -> None:
    source = GitSource(make_repository(tmp_path / "work", {**FILES, "data/tags.csv": POINTER}))
    revision = source.snapshot().revision
    with pytest.raises(SourceError, match=r"data/tags\.csv is a Git LFS pointer; "):
        source.materialize(revision, ["data"], tmp_path / "out")
    with pytest.raises(SourceError, match=r"data/tags\.csv is a Git LFS pointer; "):
        source.read(revision, "data/tags.csv")
    assert not list((tmp_path / "out").rglob("*.*"))
    source.close()


def test_specs_and_inventories_that_are_pointers_are_problems(tmp_path: Path) -> None:
    repository = "apiVersion: edgewright.dev/v1alpha1\nkind: Repository\nmetadata: {name: r}\nspec: {paths: [specs]}\n"
    files = {**FILES, "edgewright.yaml": repository, "specs/more.yaml": POINTER, "fleets/stores.csv": POINTER}
    source = GitSource(make_repository(tmp_path, files))
    with pytest.raises(SpecError) as caught:
        source.snapshot()
    found = [str(problem) for problem in caught.value.problems]
    assert any(line.startswith("specs/more.yaml:1:1: a Git LFS pointer") for line in found), found
    assert any("fleets/stores.csv is a Git LFS pointer" in line for line in found), found
    source.close()
