"""Bounds on a revision: what stands for more than there is memory for is refused before it is expanded."""

import stat
from collections.abc import Sequence

import pytest

from edgewright.errors import SpecError
from edgewright.source import bounds
from edgewright.source.cache import Cache
from edgewright.source.specs.assemble import assemble
from edgewright.source.specs.load import load_file, looks_like_spec
from edgewright.source.trees import Entry, Tree
from fakes.source import MemoryObjects, snapshot_of
from samples.repositories import DATASET, HEADER


class Bomb:
    """Folders that name the one below ten times; implements source.trees.Objects."""

    def __init__(self, depth: int, file: Entry) -> None:
        self.root = str(depth)
        self._file = file

    def tree(self, tree_id: str) -> Sequence[Entry]:
        below = int(tree_id) - 1
        return [Entry(stat.S_IFDIR, str(below), f"f{at}") for at in range(10)] if below else [self._file]

    def blob(self, blob_id: str, limit: int | None = None) -> bytes:
        return b""

    def size(self, blob_id: str) -> int:
        return 0


@pytest.mark.parametrize(
    ("name", "mode", "depth", "said"),
    [
        ("a.yaml", stat.S_IFREG, 6, r"100,000 \*.yaml and \*.yml files"),
        ("a.yaml", stat.S_IFREG, 30, "files and folders"),
        ("a.png", stat.S_IFREG, 30, "files and folders"),
        ("a", stat.S_IFLNK, 7, "1,000,000 symbolic links"),
    ],
)
def test_a_folder_that_is_named_over_and_over_is_counted_and_not_walked(
    name: str, mode: int, depth: int, said: str
) -> None:
    bomb = Bomb(depth, Entry(mode, "0" * 40, name))
    with pytest.raises(SpecError, match=said):
        Tree(bomb, bomb.root, Cache(None)).scan(bomb.root)
    with pytest.raises(SpecError, match=said):
        assemble(Tree(bomb, bomb.root, Cache(None)), "head")


def test_aliases_do_not_repeat_a_long_text_over_and_over() -> None:
    text = DATASET + f"x: [&a {'y' * 400_000}, {', '.join(['*a'] * 500)}]\n"
    loaded = load_file("a.yaml", text.encode(), required=True)
    assert ["characters once its aliases are expanded" in str(p) for p in loaded.problems].count(True) == 1


def test_the_documents_of_a_file_share_one_bound() -> None:
    rows = "x: [" + ", ".join(["[" + ", ".join(["1"] * 400) + "]"] + ["*a"] * 400) + "]"
    document = HEADER + "kind: Dataset\n" + rows.replace("[[", "[&a [") + "\n---\n"
    loaded = load_file("a.yaml", (document * 10).encode(), required=True)
    assert any("more than 1,000,000 values in one file" in str(problem) for problem in loaded.problems)


def test_specs_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"specs/{at}.yaml": DATASET.replace("name: tags", f"name: tags-{at}") for at in range(70)}
    assert len(snapshot_of(files).resources) == 70
    monkeypatch.setattr(bounds, "MAX_SPEC_BYTES", 1000)
    with pytest.raises(SpecError, match="the specs of this revision have"):
        snapshot_of(files)
    monkeypatch.undo()
    monkeypatch.setattr(bounds, "MAX_BODY_BYTES", 1000)
    with pytest.raises(SpecError, match="once aliases are expanded"):
        snapshot_of(files)


def test_a_link_whose_target_is_a_book_is_refused() -> None:
    objects = MemoryObjects({"specs/a.yaml": DATASET, "link": "x" * 100_000})
    (link,) = [entry for entry in objects.tree(objects.root) if entry.name == "link"]
    objects._trees[objects.root] = (Entry(stat.S_IFLNK, link.id, "link"),)
    with pytest.raises(Exception, match="longer than a path may be"):
        Tree(objects, objects.root, Cache(None)).find("link")


def test_lines_that_only_resemble_are_compared_once() -> None:
    assert not looks_like_spec(b"apiVersion: " + b"x" * 1_000_000 + b"\n")
    assert looks_like_spec(b"apiVersion: edgewrigt.dev/v1\n" * 50_000)
