import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgewright.errors import StepFailed, UserCodeFailed
from edgewright.pipeline.training.module import load_trained
from edgewright.pipeline.training.step import build, weights_digest
from edgewright.ports import Built
from samples.training_data import DatasetFiles, ProgressLog, start, stripes, table_dataset, train_task

CNN = {"task": "image-classification", "architecture": {"use": "small-cnn", "with": {"width": 4}}}


def cnn(**training: Any) -> dict[str, Any]:
    return {**CNN, "training": {"epochs": 4, "batchSize": 16, "learningRate": 0.01, **training}}


def run(folder: Path, dataset: DatasetFiles, spec: Mapping[str, Any], **more: Any) -> Built[Any]:
    return build(start(train_task(folder, dataset, spec, **more)))


def own_net(checkout: Path, body: str, name: str = "net.py") -> None:
    (checkout / "code").mkdir(parents=True, exist_ok=True)
    (checkout / "code" / name).write_text(f"import torch\nfrom torch import nn\n\n{body}")


def own(**with_: Any) -> dict[str, Any]:
    return {
        "task": "image-classification",
        "architecture": {"use": "code/net.py:Net", "with": with_},
        "training": {"epochs": 2, "batchSize": 16},
    }


def test_training_learns_and_says_what_it_made(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    progress = ProgressLog()
    task = train_task(tmp_path / "work", data, cnn(epochs=6))

    built = build(start(task, progress))

    assert built.facts.metrics["accuracy"] == 1.0
    assert built.facts.epochs == built.facts.best_epoch == 6
    assert built.facts.architecture == "small-cnn"
    weights = torch.load(built.files["weights.pt"], weights_only=True)
    assert built.facts.parameters == sum(
        w.numel() for n, w in weights.items() if "running" not in n and "tracked" not in n
    )
    assert built.digest == weights_digest(weights)
    history = json.loads(built.files["history.json"].read_text())["epochs"]
    assert [e["epoch"] for e in history] == [1, 2, 3, 4, 5, 6]
    assert [(done, total, unit) for done, total, unit, _ in progress.calls] == [(i, 6, "epoch") for i in range(1, 7)]
    assert set(progress.calls[-1][3]) == {"loss", "valLoss", "accuracy", "f1Macro"}
    assert set(built.environment) >= {"python", "torch", "numpy", "platform", "device", "threads"}


def test_training_twice_gives_equal_weights_whatever_was_drawn_before(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    spec = {**cnn(seed=3), "architecture": {"use": "small-cnn", "with": {"width": 4, "dropout": 0.3}}}

    first = run(tmp_path / "a", data, spec)
    torch.rand(7)
    np.random.rand(3)
    second = run(tmp_path / "b", data, spec)
    other = run(tmp_path / "c", data, {**spec, "training": {**spec["training"], "seed": 4}})

    huge = run(tmp_path / "d", data, {**spec, "training": {**spec["training"], "seed": 3 + 2**80}})

    assert first.digest == second.digest == huge.digest
    assert first.files["history.json"].read_bytes() == second.files["history.json"].read_bytes()
    assert other.digest != first.digest


def test_a_trained_model_loads_in_evaluation_mode_and_predicts_the_same(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    spec = cnn(epochs=6)
    built = run(tmp_path / "work", data, spec)

    module = load_trained({"dataset": "stripes", **spec}, tmp_path, built.files["weights.pt"], data.facts)

    assert not module.training
    assert weights_digest(module.state_dict()) == built.digest


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    spec = cnn(epochs=40, earlyStopping={"metric": "accuracy", "patience": 2})

    built = run(tmp_path / "work", data, spec)

    history = json.loads(built.files["history.json"].read_text())["epochs"]
    best = built.facts.best_epoch
    assert built.facts.epochs == len(history) == best + 2 < 40
    assert history[best - 1]["accuracy"] == max(e["accuracy"] for e in history)
    again = run(tmp_path / "again", data, cnn(epochs=best))
    assert again.digest == built.digest


def test_an_early_stopping_metric_of_another_task_is_refused(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    with pytest.raises(StepFailed, match="rmse does not exist for this task") as caught:
        run(tmp_path / "work", data, cnn(earlyStopping={"metric": "rmse"}))
    assert "accuracy, f1Macro, loss" in caught.value.hint


def test_a_loss_that_is_no_number_stops_at_once_with_advice(tmp_path: Path) -> None:
    table = table_dataset(tmp_path / "data", {"x": [1.0, 2.0, 3.0, 4.0] * 20}, [float(i) for i in range(80)])
    spec = {
        "task": "regression",
        "architecture": {"use": "mlp", "with": {"hidden": [8]}},
        "training": {"epochs": 50, "learningRate": 1e30, "optimizer": "sgd"},
    }
    with pytest.raises(StepFailed, match=r"became (nan|inf) in epoch \d+ of 50, at learning rate 1e\+30") as caught:
        run(tmp_path / "work", table, spec)
    assert "lower training.learningRate, for example to 1e+29" in caught.value.hint


def test_an_mlp_takes_raw_features_and_predicts_in_the_labels_unit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grams, degrees = rng.normal(50_000, 9_000, 400), rng.normal(0.002, 0.0005, 400)
    price = 1_000 + 0.02 * grams + 400_000 * degrees
    data = table_dataset(tmp_path / "data", {"grams": list(grams), "degrees": list(degrees)}, list(price))
    spec = {
        "task": "regression",
        "architecture": {"use": "mlp", "with": {"hidden": [16]}},
        "training": {"epochs": 40, "batchSize": 16, "learningRate": 0.01},
    }

    built = run(tmp_path / "work", data, spec)
    module = load_trained({"dataset": "d", **spec}, tmp_path, built.files["weights.pt"], data.facts)

    raw = torch.tensor([[50_000.0, 0.002]])
    assert module(raw).shape == (1, 1)
    assert abs(module(raw).item() - 2_800) < 60
    assert built.facts.metrics["mae"] < 60
    assert set(built.facts.metrics) == {"loss", "mae", "rmse"}


def test_a_constant_feature_and_a_constant_target_do_no_harm(tmp_path: Path) -> None:
    data = table_dataset(tmp_path / "data", {"x": [5.0] * 40, "y": [float(i) for i in range(40)]}, [3.0] * 40)
    spec = {"task": "regression", "architecture": {"use": "mlp"}, "training": {"epochs": 2}}

    built = run(tmp_path / "work", data, spec)

    assert built.facts.metrics["mae"] < 3.0


def test_missing_values_are_named_by_column_before_any_epoch(tmp_path: Path) -> None:
    data = table_dataset(tmp_path / "data", {"x": [1.0] * 50, "y": [None, 2.0] * 25}, ["a", "b"] * 25, ["a", "b"])
    with pytest.raises(StepFailed, match=r"train split has missing or infinite values in y \(20 rows\)"):
        run(tmp_path / "work", data, {"task": "tabular-classification", "architecture": {"use": "mlp"}})


@pytest.mark.parametrize(
    ("architecture", "message", "hint"),
    [
        ({"use": "big-cnn"}, "'big-cnn' is not known", "use small-cnn or mlp"),
        ({"use": "mlp"}, r"takes tabular features, but .* \[1, 8, 8\]", "use small-cnn"),
        (
            {"use": "small-cnn", "with": {"widht": 3, "dropout": 2}},
            "unknown argument widht.*|dropout: .*",
            "it accepts width, activation, dropout",
        ),
    ],
)
def test_a_wrong_architecture_says_what_is_right(
    tmp_path: Path, architecture: dict[str, Any], message: str, hint: str
) -> None:
    data = stripes(tmp_path / "data", rows=40)
    with pytest.raises(StepFailed, match=message) as caught:
        run(tmp_path / "work", data, {**CNN, "architecture": architecture})
    assert hint in caught.value.hint


def test_the_task_and_the_label_must_fit(tmp_path: Path) -> None:
    numbers = table_dataset(tmp_path / "n", {"x": [1.0, 2.0] * 20}, [1.0, 2.0] * 20)
    classes = table_dataset(tmp_path / "c", {"x": [1.0, 2.0] * 20}, ["a", "b"] * 20, ["a", "b"])
    with pytest.raises(StepFailed, match="needs a label with categories, but column 'label'"):
        run(tmp_path / "w1", numbers, {"task": "tabular-classification", "architecture": {"use": "mlp"}})
    with pytest.raises(StepFailed, match="task regression needs a numeric label"):
        run(tmp_path / "w2", classes, {"task": "regression", "architecture": {"use": "mlp"}})


OWN = """
class Net(nn.Module):
    def __init__(self, input_shape, outputs, width=4):
        super().__init__()
        c, h, w = input_shape
        self.conv = nn.LazyConv2d(width, 3, padding=1)
        self.head = nn.Linear(width * h * w, outputs)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(1))
"""


def test_the_repositorys_own_module_is_trained_and_told_its_shape(tmp_path: Path) -> None:
    checkout = tmp_path / "repo"
    own_net(checkout, OWN)
    data = stripes(tmp_path / "data")

    built = run(tmp_path / "work", data, own(width=3), checkout=checkout)

    assert built.facts.architecture == "code/net.py:Net"
    assert built.facts.parameters == 3 * 9 + 3 + 3 * 64 * 2 + 2
    module = load_trained({"dataset": "d", **own(width=3)}, checkout, built.files["weights.pt"], data.facts)
    assert weights_digest(module.state_dict()) == built.digest


@pytest.mark.parametrize(
    ("body", "with_", "message", "hint"),
    [
        (OWN, {"depth": 3}, "unknown argument depth", "it accepts input_shape, outputs, width"),
        (OWN.replace("width=4", "width"), {}, "missing argument width", "it accepts"),
        (OWN.replace(".flatten(1)", ".flatten(1).nope"), {}, r"code/net\.py:13", "in forward"),
        (OWN.replace("c, h, w = input_shape", "c, h = input_shape"), {}, r"code/net\.py:8", "c, h"),
        (OWN.replace(".flatten(1))", ".flatten(1)).sum(1)"), {}, r"made \(2,\) from 2 rows", "logit"),
        ("def Net():\n    return 3\n", {}, "made an object of type int, which is no torch.nn.Module", "derives"),
    ],
)
def test_mistakes_in_the_repositorys_own_module_are_explained(
    tmp_path: Path, body: str, with_: dict[str, Any], message: str, hint: str
) -> None:
    own_net(tmp_path / "repo", body)
    with pytest.raises(StepFailed, match=message) as caught:
        run(tmp_path / "work", stripes(tmp_path / "data", rows=40), own(**with_), checkout=tmp_path / "repo")
    assert hint in caught.value.hint
    assert isinstance(caught.value, UserCodeFailed) == ("net\\.py" in message)


def test_a_warm_start_continues_from_the_champion(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    champion = run(tmp_path / "champion", data, cnn(epochs=5))
    inputs = {"warmStart": {"weights.pt": champion.files["weights.pt"]}}

    cold = run(tmp_path / "cold", data, cnn(epochs=1, learningRate=1e-5, seed=9))
    warm = run(tmp_path / "warm", data, cnn(epochs=1, learningRate=1e-5, seed=9, warmStart=True), inputs=inputs)
    unasked = run(tmp_path / "unasked", data, cnn(epochs=1, learningRate=1e-5, seed=9), inputs=inputs)

    assert warm.facts.metrics["accuracy"] == 1.0 > cold.facts.metrics["accuracy"]
    assert unasked.digest == cold.digest


def test_a_warm_start_from_another_shape_says_what_differs(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data", rows=40)
    champion = run(
        tmp_path / "champion", data, {**cnn(epochs=1), "architecture": {"use": "small-cnn", "with": {"width": 3}}}
    )
    with pytest.raises(StepFailed, match=r"features\.0\.weight is \[3, 1, 3, 3\] and should be \[4, 1, 3, 3\]"):
        run(
            tmp_path / "warm",
            data,
            cnn(warmStart=True),
            inputs={"warmStart": {"weights.pt": champion.files["weights.pt"]}},
        )


def test_an_unknown_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_DEVICE", "warp")
    with pytest.raises(StepFailed, match=r"\$EDGEWRIGHT_DEVICE is 'warp'"):
        run(tmp_path / "work", stripes(tmp_path / "data", rows=40), cnn())


def test_a_last_batch_of_one_row_does_not_stop_batch_normalisation(tmp_path: Path) -> None:
    own_net(
        tmp_path / "repo",
        "class Net(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 2))\n",
    )
    data = stripes(tmp_path / "data", rows=62)
    assert data.facts.rows["train"] % 16 == 1
    assert run(tmp_path / "work", data, own(), checkout=tmp_path / "repo").facts.epochs == 2
