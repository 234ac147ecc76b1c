"""Options of a training: rates by step, gathered and clipped gradients, averages, weights of classes, first weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from edgewright.core.planning.fingerprint import origin_components
from edgewright.errors import StepFailed
from edgewright.pipeline.training.averaging import WeightAverage
from edgewright.pipeline.training.balance import class_weights
from edgewright.pipeline.training.data import batches
from edgewright.pipeline.training.schedules import rate_factor
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec, Schedule, Training
from worlds.trained_pictures import MLP, points, trained, weights


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
