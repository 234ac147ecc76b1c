"""First weights, weights that stay and the repository's own loss."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgewright.errors import StepFailed, UserCodeFailed
from samples.training_data import DatasetFiles, stripes
from worlds.trained_pictures import NOTHING, pinned, points, refused, trained, weights


def state_of(folder: Path, data: DatasetFiles) -> dict[str, torch.Tensor]:
    return {name: tensor + 0.25 for name, tensor in weights(trained(folder, data, **NOTHING)).items()}


@pytest.mark.parametrize("format_", ["safetensors", "torch-weights"])
def test_training_starts_from_the_weights_of_a_file(tmp_path: Path, format_: str) -> None:
    data = points(tmp_path / "data")
    state = state_of(tmp_path / "first", data)
    path = tmp_path / "weights"
    save_file(state, path) if format_ == "safetensors" else torch.save(state, path)

    found = weights(trained(tmp_path, data, **NOTHING, **pinned(path, format_)))

    assert all(torch.equal(found[name], state[name]) for name in state)


def test_names_are_mapped_and_left_out(tmp_path: Path) -> None:
    data = points(tmp_path / "data")
    state = state_of(tmp_path / "first", data)
    head = sorted(name for name in state if name.startswith("layers."))[-2:]
    renamed = {
        f"model.body.{name.removeprefix('layers.')}": tensor
        for name, tensor in state.items()
        if name not in head and name.startswith("layers.")
    }
    save_file({**renamed, "neck.weight": torch.zeros(3)}, tmp_path / "weights")
    wanted: dict[str, Any] = {"map": {"model.body.": "layers."}, "exclude": [*head, "neck.*", "feature_*"]}

    found = weights(trained(tmp_path, data, **NOTHING, **pinned(tmp_path / "weights", **wanted)))

    assert torch.equal(found["layers.0.weight"], state["layers.0.weight"])
    assert not torch.equal(found[head[0]], state[head[0]])


def test_weights_that_fit_nowhere_or_partly_are_told(tmp_path: Path) -> None:
    data, path = points(tmp_path / "data"), tmp_path / "weights"
    state = state_of(tmp_path / "first", data)
    save_file({f"other.{name}": tensor for name, tensor in state.items()}, path)
    assert "no name in weights is one of the architecture's" in refused(tmp_path, data, path)
    assert "begins with backbone." in refused(tmp_path, data, path, map={"backbone.": ""})

    partly = {name: tensor for name, tensor in state.items() if name != "layers.0.bias"}
    save_file({**partly, "layers.0.weight": torch.zeros(6, 3), "extra": torch.zeros(1)}, path)
    told = refused(tmp_path, data, path)
    assert "layers.0.bias is not in the file; extra is not in the architecture; " in told
    assert "layers.0.weight is [6, 3] and should be [6, 2]" in told

    save_file({**state, "layers.0.bias": torch.full((6,), torch.nan)}, path)
    assert "no finite number in layers.0.bias" in refused(tmp_path, data, path)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


def test_no_code_of_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, path = points(tmp_path / "data"), tmp_path / "weights"
    torch.save({"layers.0.weight": Evil()}, path)
    assert "cannot be read as weights alone" in refused(tmp_path, data, path, "torch-weights")
    path.write_bytes(pickle.dumps(Evil()))
    assert "cannot be read as weights alone" in refused(tmp_path, data, path, "torch-weights")
    assert "is no file of safetensors" in refused(tmp_path, data, path)
    torch.save({"state_dict": state_of(tmp_path / "first", data), "epoch": 3}, path)
    assert "holds a dict of state_dict, epoch, no dict of tensors" in refused(tmp_path, data, path, "torch-weights")
    assert not Path("touched").exists()


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    data, path = points(tmp_path / "data"), tmp_path / "weights"
    save_file(state_of(tmp_path / "first", data), path)
    wanted = pinned(path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(StepFailed, match="not the file the spec pins"):
        trained(tmp_path, data, **wanted)


CNN: dict[str, Any] = {
    "task": "image-classification",
    "architecture": {"use": "small-cnn", "with": {"width": 2}},
    "dataset": "stripes",
}


def test_frozen_weights_and_their_statistics_stay_until_they_are_let_go(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data", rows=60)
    options: dict[str, Any] = {"epochs": 2, "learningRate": 0.01}
    fresh = weights(trained(tmp_path / "fresh", data, CNN, learningRate=1e-30, epochs=1))
    frozen = weights(trained(tmp_path / "frozen", data, CNN, **options, freeze=["features.*"]))
    released = weights(trained(tmp_path / "released", data, CNN, **options, freeze=["features.*"], unfreezeAfter=1))

    assert torch.allclose(frozen["features.0.weight"], fresh["features.0.weight"])
    assert frozen["features.1.num_batches_tracked"] == 0
    assert not torch.allclose(frozen["head.weight"], fresh["head.weight"])
    assert not torch.allclose(released["features.0.weight"], fresh["features.0.weight"])
    assert released["features.1.num_batches_tracked"] > 0


@pytest.mark.parametrize(
    ("pattern", "message"), [("feature.*", "no weight is named feature"), ("*", "nothing to learn")]
)
def test_a_pattern_that_freezes_nothing_or_everything_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(StepFailed, match=message):
        trained(tmp_path, stripes(tmp_path / "data", rows=30), CNN, freeze=[pattern])


def own(folder: Path, body: str) -> str:
    (folder / "code").mkdir(parents=True, exist_ok=True)
    (folder / "code" / "loss.py").write_text(f"import torch\n\ndef loss(outputs, targets):\n    {body}\n")
    return "code/loss.py:loss"


def test_the_repositorys_own_loss_is_learned_by(tmp_path: Path) -> None:
    data = points(tmp_path / "data")
    same = trained(tmp_path, data, loss=own(tmp_path, "return torch.nn.functional.cross_entropy(outputs, targets)"))

    assert same.digest == trained(tmp_path / "plain", data).digest


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("return 0.5", StepFailed, "returned a float"),
        ("return outputs", StepFailed, r"returned a tensor \(16, 2\)"),
        ("return torch.zeros(())", StepFailed, "does not depend on the outputs"),
        ("return outputs[999].sum()", UserCodeFailed, "IndexError"),
    ],
)
def test_mistakes_in_an_own_loss_are_explained(tmp_path: Path, body: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trained(tmp_path, points(tmp_path / "data"), loss=own(tmp_path, body))
