"""Options of a training: rates by step, gathered and clipped gradients, averages, weights of classes, first weights."""

import pickle
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from edgewright.core.planning.fingerprint import origin_components
from edgewright.errors import StepFailed, UserCodeFailed
from edgewright.pipeline.training.averaging import WeightAverage
from edgewright.pipeline.training.balance import class_weights
from edgewright.pipeline.training.data import batches
from edgewright.pipeline.training.schedules import rate_factor
from edgewright.pipeline.training.step import build
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec, Schedule, Training
from samples.training_data import DatasetFiles, start, stripes, table_dataset, train_task

MLP: dict[str, Any] = {
    "task": "tabular-classification",
    "architecture": {"use": "mlp", "with": {"hidden": [6]}},
    "dataset": "points",
}


def points(folder: Path, rows: int = 80) -> DatasetFiles:
    random = np.random.default_rng(4)
    truth = (random.random(rows) < 0.25).astype(int)
    x = random.normal(truth * 1.5, 1.0)
    return table_dataset(
        folder,
        {"x": x.tolist(), "y": random.normal(size=rows).tolist()},
        [("no", "yes")[t] for t in truth],
        ["no", "yes"],
    )


def trained(folder: Path, data: DatasetFiles, spec: Mapping[str, Any] = MLP, **training: Any) -> Built[Any]:
    whole = {**spec, "training": {"epochs": 2, "batchSize": 16, "seed": 5, **training}}
    return build(start(train_task(folder / "work", data, whole, folder)))


def weights(built: Built[Any]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(built.files["weights.pt"], weights_only=True)
    return found


def apart(first: Built[Any], second: Built[Any]) -> float:
    ours, theirs = weights(first), weights(second)
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def test_options_that_are_not_given_leave_fingerprints_as_they_were() -> None:
    model = ModelSpec.model_validate({**MLP, "training": {"epochs": 3}})
    given = ModelSpec.model_validate({**MLP, "training": {"epochs": 3, "clipGradients": 1, "loss": "code/l.py:f"}})

    before = origin_components(model, "d", {}, {}, {})
    after = origin_components(given, "d", {"code/l.py": "sha256:c"}, {}, {})

    assert {name for name in before if name.startswith("training.")} == {
        f"training.{name}"
        for name in (
            *("epochs", "batchSize", "optimizer", "learningRate", "weightDecay", "seed"),
            *("earlyStopping", "warmStart", "environment"),
        )
    }
    assert {name: after[name] for name in after.keys() - before.keys()} == {
        "training.clipGradients": "1.0",
        "training.loss": '"code/l.py:f"',
        "code:code/l.py": "sha256:c",
    }


def test_where_first_weights_are_found_is_no_part_of_the_fingerprint() -> None:
    def parts(uri: str) -> Mapping[str, str]:
        first = {"uri": uri, "digest": "sha256:" + "a" * 64, "format": "safetensors"}
        return origin_components(ModelSpec.model_validate({**MLP, "training": {"initialize": first}}), "d", {}, {}, {})

    assert parts("a.safetensors") == parts("https://example.com/b.safetensors")


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"loss": "focal"}, "loss names a function"),
        ({"loss": "a.py:f", "classWeights": "balanced"}, "of the task's loss"),
        ({"classWeights": {"a": 0}}, "above 0"),
        ({"unfreezeAfter": 2}, "goes with freeze"),
        ({"freeze": ["a"], "unfreezeAfter": 10}, "no earlier than the last epoch"),
        ({"schedule": {"kind": "one-cycle", "warmUp": 1}}, "a rise of its own"),
    ],
)
def test_options_that_exclude_each_other_are_refused(training: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Training.model_validate(training)


@pytest.mark.parametrize("option", [{"classWeights": "balanced"}, {"sampling": "balanced"}, {"labelSmoothing": 0.1}])
def test_what_is_by_class_needs_classes(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="goes with tasks of one class for each row, not with regression"):
        ModelSpec.model_validate({**MLP, "task": "regression", "training": option})


# ── learning rate ─────────────────────────────────────────────────────────────────────────────────────────────


def rates(total: int, make: Any) -> list[float]:
    """Follow a scheduler of torch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(total):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


def test_rates_are_those_of_torchs_schedulers() -> None:
    def ours(**fields: Any) -> list[float]:
        return [rate_factor(Schedule.model_validate(fields), step, 5, 8) for step in range(40)]

    by = torch.optim.lr_scheduler
    assert ours(kind="cosine", last=0.1) == pytest.approx(rates(40, lambda o: by.CosineAnnealingLR(o, 40, 0.1)))
    assert ours(kind="step", every=3, factor=0.5) == pytest.approx(rates(40, lambda o: by.StepLR(o, 15, 0.5)))
    cycle = rates(40, lambda o: by.OneCycleLR(o, 1.0, total_steps=41, cycle_momentum=False))
    one_more = [rate_factor(Schedule(kind="one-cycle"), step, 41, 1) for step in range(40)]
    assert one_more == pytest.approx(cycle, abs=1e-9)
    assert ours(kind="constant", warmUp=2) == [*[(step + 1) / 10 for step in range(10)], *[1.0] * 30]
    risen = ours(kind="cosine", warmUp=2)
    assert risen[9:11] == [1.0, 1.0]
    assert risen[10:] == pytest.approx(rates(30, lambda o: by.CosineAnnealingLR(o, 30)))


def test_a_schedule_changes_what_is_learned_and_a_constant_one_does_not(tmp_path: Path) -> None:
    data = points(tmp_path / "data")
    plain = trained(tmp_path / "plain", data)
    constant = trained(tmp_path / "constant", data, schedule={"kind": "constant"})
    cosine = trained(tmp_path / "cosine", data, schedule={"kind": "cosine"})

    assert constant.digest == plain.digest != cosine.digest


# ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_gathered_gradients_are_those_of_a_larger_batch(tmp_path: Path) -> None:
    data = points(tmp_path / "data")
    larger = trained(tmp_path / "larger", data, batchSize=16)
    gathered = trained(tmp_path / "gathered", data, batchSize=8, accumulate=2)
    alone = trained(tmp_path / "alone", data, batchSize=8)

    assert apart(larger, gathered) < 1e-6 < apart(larger, alone)


def test_clipped_gradients_take_steps_of_the_size_asked_for(tmp_path: Path) -> None:
    data = points(tmp_path / "data")
    options: dict[str, Any] = {"optimizer": "sgd", "epochs": 1, "batchSize": 64, "learningRate": 1.0}
    small = trained(tmp_path / "small", data, clipGradients=1e-3, **options)
    half = trained(tmp_path / "half", data, clipGradients=5e-4, **options)
    none = trained(tmp_path / "none", data, clipGradients=1e-12, **options)

    def length(built: Built[Any]) -> float:
        ours, theirs = weights(built), weights(none)
        return float(sum((ours[name] - theirs[name]).square().sum() for name in ours) ** 0.5)

    assert length(small) == pytest.approx(1e-3, rel=0.01)
    assert length(half) == pytest.approx(5e-4, rel=0.01)


def test_an_average_moves_by_the_rest_of_its_decay_and_takes_statistics_as_they_are() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = WeightAverage(module, 0.9)
    expected = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    for step in range(200):
        with torch.no_grad():
            for weight in module.parameters():
                weight.add_(torch.randn_like(weight))
        module(torch.randn(4, 2))
        average.update(module, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = {n: decay * expected[n] + (1 - decay) * w.detach() for n, w in module.named_parameters()}

    for name, weight in average.module.named_parameters():
        assert torch.allclose(weight, expected[name], atol=1e-4)
    statistics, current = dict(average.module.named_buffers()), dict(module.named_buffers())
    assert statistics["1.num_batches_tracked"] == 200
    assert torch.equal(statistics["1.running_mean"], current["1.running_mean"])


def test_the_average_is_what_is_kept(tmp_path: Path) -> None:
    data = points(tmp_path / "data")
    plain = trained(tmp_path / "plain", data, epochs=1, batchSize=64)
    averaged = trained(tmp_path / "averaged", data, epochs=1, batchSize=64, averaging={"decay": 0.999})
    fresh = trained(tmp_path / "fresh", data, epochs=1, batchSize=64, learningRate=1e-30)

    ours, learned, first = weights(averaged), weights(plain), weights(fresh)
    name = "layers.0.weight"
    assert torch.allclose(ours[name], 0.1 * first[name] + 0.9 * learned[name], atol=1e-6)


# ── classes ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [3])
    found = class_weights(Training.model_validate({"classWeights": "balanced"}), torch.from_numpy(labels), list("abcd"))

    assert found is not None
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    assert found.tolist() == pytest.approx([expected[0], expected[1], 1.0, expected[2]])


def test_a_weight_of_an_unknown_class_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StepFailed) as refused:
        trained(tmp_path, points(tmp_path / "data"), classWeights={"yess": 2.0})
    assert "has no class yess" in str(refused.value)
    assert refused.value.hint == "did you mean yes?"


def test_balanced_sampling_draws_each_class_as_often() -> None:
    labels = torch.tensor([0] * 900 + [1] * 100)
    drawn = torch.cat(batches(1000, 64, torch.Generator().manual_seed(1), 1 / torch.bincount(labels).double()[labels]))

    assert len(drawn) == 1000
    assert float((labels[drawn] == 1).float().mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("options", [{"classWeights": {"yes": 20.0}}, {"sampling": "balanced"}])
def test_more_of_a_rare_class_is_found_where_it_counts_more(tmp_path: Path, options: dict[str, Any]) -> None:
    data = points(tmp_path / "data", 400)
    more: dict[str, Any] = {"epochs": 6, "learningRate": 0.01}

    def called_yes(built: Built[Any]) -> float:
        state = weights(built)
        features = torch.from_numpy(np.random.default_rng(9).normal(0.7, 1.0, (500, 2))).float()
        hidden = torch.relu(
            (features - state["feature_mean"]) / state["feature_scale"] @ state["layers.0.weight"].T
            + state["layers.0.bias"]
        )
        last = max(name for name in state if name.startswith("layers.") and name.endswith("weight"))
        logits = hidden @ state[last].T + state[last.replace("weight", "bias")]
        return float((logits.argmax(1) == 1).float().mean())

    assert (
        called_yes(trained(tmp_path / "b", data, **more, **options))
        > called_yes(trained(tmp_path / "a", data, **more)) + 0.1
    )


def test_smoothed_truth_is_never_sure(tmp_path: Path) -> None:
    data = points(tmp_path / "data")
    assert trained(tmp_path / "a", data).digest != trained(tmp_path / "b", data, labelSmoothing=0.2).digest


# ── first weights ─────────────────────────────────────────────────────────────────────────────────────────────


def pinned(path: Path, format_: str = "safetensors", **more: Any) -> dict[str, Any]:
    digest = f"sha256:{sha256(path.read_bytes()).hexdigest()}"
    return {"initialize": {"uri": path.name, "digest": digest, "format": format_, **more}}


NOTHING: dict[str, Any] = {"learningRate": 1e-30, "epochs": 1}


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


def refused(folder: Path, data: DatasetFiles, path: Path, format_: str = "safetensors", **more: Any) -> str:
    with pytest.raises(StepFailed) as raised:
        trained(folder, data, **NOTHING, **pinned(path, format_, **more))
    return str(raised.value)


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


# ── weights that stay ─────────────────────────────────────────────────────────────────────────────────────────

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


# ── own loss ──────────────────────────────────────────────────────────────────────────────────────────────────


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
