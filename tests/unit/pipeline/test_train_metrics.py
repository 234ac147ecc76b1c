import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, root_mean_squared_error

from edgewright.pipeline.training.data import batches
from edgewright.pipeline.training.metrics import Best, classification_figures, regression_figures
from edgewright_schemas.model import EarlyStopping


@pytest.mark.parametrize("seed", range(5))
def test_classification_figures_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(60, 7))
    logits[:, 5] = -9.0  # a class that is never predicted; class 6 is never true and may be predicted
    labels = rng.integers(0, 6, 60)

    figures = classification_figures(torch.from_numpy(logits), torch.from_numpy(labels))

    found = logits.argmax(axis=1)
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, found))
    assert figures["f1Macro"] == pytest.approx(f1_score(labels, found, average="macro"))


def test_a_class_that_never_occurs_is_no_part_of_the_mean() -> None:
    logits = torch.eye(4)[[0, 1, 1]]
    assert classification_figures(logits, torch.tensor([0, 1, 1])) == {"accuracy": 1.0, "f1Macro": 1.0}


def test_regression_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    found, targets = rng.normal(size=(50, 1)), rng.normal(size=50)

    figures = regression_figures(torch.from_numpy(found), torch.from_numpy(targets))

    assert figures["mae"] == pytest.approx(mean_absolute_error(targets, found[:, 0]))
    assert figures["rmse"] == pytest.approx(root_mean_squared_error(targets, found[:, 0]))


def stopping(metric: str, **more: float) -> Best:
    return Best(EarlyStopping.model_validate({"metric": metric, "patience": 2, **more}))


def test_a_loss_must_fall_and_an_accuracy_must_rise_by_more_than_min_delta() -> None:
    loss = stopping("loss", minDelta=0.125)
    assert [loss.offer(i, {"valLoss": v}) for i, v in enumerate((1.0, 0.875, 0.75, 2.0), 1)] == [
        True,
        False,
        True,
        False,
    ]
    accuracy = stopping("accuracy")
    assert [accuracy.offer(i, {"accuracy": v}) for i, v in enumerate((0.0, 0.5, 0.5, 0.4), 1)] == [
        True,
        True,
        False,
        False,
    ]
    assert (accuracy.epoch, accuracy.value, accuracy.exhausted) == (2, 0.5, True)
    assert not loss.exhausted


def test_without_early_stopping_the_last_epoch_is_kept() -> None:
    best = Best(None)
    assert all(best.offer(epoch, {"valLoss": float(epoch)}) for epoch in range(1, 20))
    assert best.epoch == 19
    assert not best.exhausted


@pytest.mark.parametrize(("rows", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (1, 4, [1]), (3, 1, [1, 2])])
def test_every_row_is_in_one_batch_of_an_epoch(rows: int, size: int, sizes: list[int]) -> None:
    parts = list(batches(rows, size, torch.Generator().manual_seed(0)))
    assert [len(part) for part in parts] == sizes
    assert sorted(torch.cat(parts).tolist()) == list(range(rows))
