"""What the repository's code reads beside itself is checked out for it, and a change in it makes again what it made."""

from pathlib import Path

import pytest

from edgewright.core.artifact import Action
from fakes.builder import FakeBuilder
from harness.command_line import HEAD, converge, edgewright, edit, repository

NET = "import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n"
MODEL = (
    HEAD + "kind: Model\nmetadata: {name: reader}\nspec:\n  task: tabular-classification\n  dataset: tags\n"
    "  architecture: {use: code/net.py:Net, inputs: [code/backbone.pt, tables]}\n"
)
DATASET = (
    HEAD + "kind: Dataset\nmetadata: {name: tags}\nspec:\n"
    "  source: {uri: code/rows.py:rows, format: python, inputs: [data/names.txt]}\n"
    "  columns: {weight: {type: number}, label: {type: category}}\n"
    "  steps: [{use: code/rows.py:known, inputs: [data/known.txt]}]\n"
)
FILES: dict[str, str | bytes] = {
    "specs/model.yaml": MODEL,
    "specs/dataset.yaml": DATASET,
    "code/net.py": NET,
    "code/rows.py": "def rows():\n    return []\n\n\ndef known(row):\n    return row\n",
    "code/backbone.pt": b"\x80weights",
    "tables/a.csv": "1\n",
    "data/names.txt": "a\n",
    "data/known.txt": "b\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return repository(tmp_path / "shop", FILES)


def test_steps_get_the_files_that_their_code_reads(shop: Path) -> None:
    builder = FakeBuilder()
    converge(shop, builder=builder)
    paths = {task.action: set(task.checkout.paths) for task in builder.tasks}
    assert paths[Action.BUILD_DATASET] == {"code/rows.py", "data/names.txt", "data/known.txt"}
    for action in (Action.TRAIN, Action.EXPORT):
        assert paths[action] == {"code/net.py", "code/backbone.pt", "tables"}


@pytest.mark.parametrize(
    ("path", "again"),
    [
        ("code/backbone.pt", "inputs:code/backbone.pt"),
        ("tables/b.csv", "inputs:tables"),
        ("data/names.txt", "inputs:data/names.txt"),
        ("data/known.txt", "inputs:data/known.txt"),
    ],
)
def test_a_change_in_one_makes_it_again_with_the_reason(shop: Path, path: str, again: str) -> None:
    converge(shop)
    edgewright(shop, "plan").expect(0, "Nothing to do")
    edit(shop, {path: "other\n"})
    edgewright(shop, "plan").expect(0, f"{again}: ")


def test_files_that_are_not_there_and_inputs_of_no_code_are_reported(shop: Path) -> None:
    edit(shop, {"specs/model.yaml": MODEL.replace("tables]", "nothing]")})
    edgewright(shop, "validate").expect(1, "specs/model.yaml:", "nothing")
    edit(shop, {"specs/model.yaml": MODEL.replace("code/net.py:Net", "mlp")})
    edgewright(shop, "validate").expect(1, "inputs go with the repository's own code, and mlp is built in")
    edit(shop, {"specs/model.yaml": MODEL, "specs/dataset.yaml": DATASET.replace("python", "csv")})
    edgewright(shop, "validate").expect(1, "inputs go with format python")
