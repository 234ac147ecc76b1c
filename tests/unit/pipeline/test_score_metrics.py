"""Figures of weighted rows: those of scikit-learn, and of rows that are there as often as they weigh."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from edgewright.core.intervals import figure_interval
from edgewright.pipeline.evaluation.class_metrics import ClassEvaluator
from edgewright.pipeline.evaluation.number_metrics import NumberEvaluator
from edgewright.pipeline.evaluation.resampling import RESAMPLES, resample
from edgewright.pipeline.evaluation.score_kinds import ScoreKind
from edgewright.pipeline.evaluation.score_metrics import WEIGHTED

NAMES = tuple(WEIGHTED)


def tied(rows: int, classes: int, seed: int) -> tuple[Any, Any]:
    """Make scores on a coarse grid, so that many are equal, and labels."""
    random = np.random.default_rng(seed)
    return random.integers(-2, 3, (rows, classes)) / 2, random.integers(0, classes, rows)


@given(st.integers(1, 25), st.integers(2, 7), st.integers(0, 10_000))
def test_a_weight_of_two_is_a_row_that_is_there_twice(rows: int, classes: int, seed: int) -> None:
    scores, labels = tied(rows, classes, seed)
    weights = np.random.default_rng(seed + 1).integers(0, 4, (2, rows)).astype(float)
    weights[:, 0] += 1
    evaluator = ClassEvaluator(classes, ScoreKind.LOGITS)

    found = evaluator.weigh(torch.from_numpy(scores).float(), torch.from_numpy(labels), weights, NAMES)

    for each, weighting in enumerate(weights):
        chosen = np.repeat(np.arange(rows), weighting.astype(int))
        expected = evaluator.figures(torch.from_numpy(scores[chosen]).float(), torch.from_numpy(labels[chosen]))
        for name in NAMES:
            wanted = np.nan if expected[name] is None else expected[name]
            assert found[name][each] == pytest.approx(wanted, abs=2e-6, nan_ok=True), name


@given(st.integers(2, 40), st.integers(0, 10_000))
def test_numbers_that_weigh_two_are_there_twice(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = torch.from_numpy(random.normal(40.0, 3.0, rows)).float()
    predictions = labels + torch.from_numpy(random.normal(0.0, 1.0, rows)).float()
    weights = np.maximum(random.integers(0, 4, (1, rows)), np.eye(rows)[:2].sum(axis=0)).astype(float)

    found = NumberEvaluator().weigh(predictions, labels, weights, ("mae", "rmse", "r2"))

    chosen = torch.from_numpy(np.repeat(np.arange(rows), weights[0].astype(int)))
    expected = NumberEvaluator().figures(predictions[chosen], labels[chosen])
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_ranking_figures_with_many_ties_are_those_of_scikit_learn(seed: int) -> None:
    scores, labels = tied(60, 2 + seed % 4, seed)
    odds = torch.softmax(torch.from_numpy(scores), dim=1).float().double().numpy()
    classes = scores.shape[1]

    found = ClassEvaluator(classes, ScoreKind.PROBABILITIES).figures(
        torch.from_numpy(odds).float(), torch.from_numpy(labels)
    )

    truth = np.eye(classes)[labels]
    assert found["rocAuc"] == pytest.approx(metrics.roc_auc_score(truth, odds), abs=1e-9)
    assert found["averagePrecision"] == pytest.approx(metrics.average_precision_score(truth, odds), abs=1e-9)
    if classes == 2:
        assert found["brier"] == pytest.approx(metrics.brier_score_loss(labels, odds[:, 1]), abs=1e-6)
    if classes > 3:
        top = metrics.top_k_accuracy_score(labels, odds + np.arange(classes) * -1e-9, k=3)
        assert found["top3Accuracy"] == pytest.approx(top)


def test_a_class_without_rows_is_left_out_and_one_class_alone_is_not_ranked() -> None:
    scores = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0.5, 0, 0]])
    two = ClassEvaluator(3, ScoreKind.LOGITS).figures(scores, torch.tensor([0, 1, 0]))
    one = ClassEvaluator(3, ScoreKind.LOGITS).figures(scores, torch.tensor([0, 0, 0]))

    assert two["rocAuc"] == two["averagePrecision"] == 1.0
    assert one["rocAuc"] is None
    assert two["top3Accuracy"] is None


def normal(weights: Any, names: Any) -> Any:
    values = np.random.default_rng(5).normal(10.0, 2.0, weights.shape[1])
    return {name: weights @ values / weights.sum(axis=1) for name in names}


def test_resamples_spread_as_the_error_of_a_mean_and_repeat() -> None:
    first, again, other = (resample(400, seed, ["mae"], normal)["mae"] for seed in ("a", "a", "b"))

    assert first == again != other
    assert len(first) == RESAMPLES
    low, high = figure_interval({"resampled": {"figures": {"": {"mae": first}}}}, "", "mae", 0.95) or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / np.sqrt(400), rel=0.12)
