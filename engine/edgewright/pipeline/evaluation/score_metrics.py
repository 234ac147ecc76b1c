"""Figures of classes' probabilities, over many weightings of the same rows at once. Called by ``class_metrics``.

A weighting says how often each row counts: all rows once give the figure, random ones give what it is over resampled
rows. Shapes: ``weights`` (B, N), ``probabilities`` (N, classes), ``labels`` (N,); results (B,), NaN where undefined.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 15
"""Bins of equal width of the calibration error."""
_SMALLEST_PROBABILITY = 1e-12


def accuracy(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Share of rows whose largest score is the true class's."""
    return _mean(weights, (probabilities.argmax(axis=1) == labels).astype(np.float64))


def loss(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Mean negative log-likelihood of the true class, in nats."""
    chosen = probabilities[np.arange(len(labels)), labels].clip(_SMALLEST_PROBABILITY, 1.0)
    return _mean(weights, -np.log(chosen))


def precision_macro(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Mean over the classes that are there or predicted of the share of predictions that are right."""
    hits, predicted, there = _counts(weights, probabilities, labels)
    return _mean_over_classes(_share(hits, predicted), predicted + there > 0)


def recall_macro(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Mean over the classes that are there or predicted of the share of rows found."""
    hits, predicted, there = _counts(weights, probabilities, labels)
    return _mean_over_classes(_share(hits, there), predicted + there > 0)


def f1_macro(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Mean over the classes that are there or predicted of the harmonic mean of precision and recall."""
    hits, predicted, there = _counts(weights, probabilities, labels)
    return _mean_over_classes(_share(2 * hits, predicted + there), predicted + there > 0)


def roc_auc(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Mean over classes of the chance that a row of it scores higher than one of another; a tie counts half.

    Leaves out classes of which there is no row; undefined where only one class is there.
    """
    found = np.full((probabilities.shape[1], len(weights)), np.nan)
    for each in range(probabilities.shape[1]):
        positive, negative = _by_threshold(weights, probabilities[:, each], labels == each)
        before = np.cumsum(negative, axis=1) - negative
        # Ranked from the highest score down: each positive beats the negatives that come after.
        total = negative.sum(axis=1, keepdims=True)
        wins = (positive * (total - before - negative / 2)).sum(axis=1)
        found[each] = _share(wins, positive.sum(axis=1) * total[:, 0], empty=np.nan)
    return _mean_of_defined(found)


def average_precision(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Mean over classes of the precision at each threshold, weighted by the recall it adds, without interpolation.

    Leaves out classes of which there is no row.
    """
    found = np.full((probabilities.shape[1], len(weights)), np.nan)
    for each in range(probabilities.shape[1]):
        positive, negative = _by_threshold(weights, probabilities[:, each], labels == each)
        hits = np.cumsum(positive, axis=1)
        precision = _share(hits, hits + np.cumsum(negative, axis=1))
        found[each] = _share((positive * precision).sum(axis=1), positive.sum(axis=1), empty=np.nan)
    return _mean_of_defined(found)


def brier(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Mean squared difference of probabilities from what was true: summed over classes, of two classes for one."""
    truth = np.eye(probabilities.shape[1])[labels]
    squares = np.square(probabilities - truth).sum(axis=1)
    return _mean(weights, squares / 2 if probabilities.shape[1] == 2 else squares)


def calibration_error(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
    """Mean over rows of how far their bin's mean probability of the class predicted is from its share of right ones.

    The expected calibration error (ECE), with bins open below and closed above.
    """
    highest = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    bins = np.clip(np.ceil(highest * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = weights @ (np.eye(BINS)[bins] * (highest - right)[:, None])
    return _share(np.abs(gaps).sum(axis=1), weights.sum(axis=1), empty=np.nan)


def top_accuracy(k: int) -> Callable[[Floats, Floats, Ints], Floats]:
    """Return the figure that counts rows whose class is among the k largest scores, of ties the first classes.

    Undefined where there are no more than k classes.
    """

    def compute(weights: Floats, probabilities: Floats, labels: Ints) -> Floats:
        if probabilities.shape[1] <= k:
            return np.full(len(weights), np.nan)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        return _mean(weights, (order == labels[:, None]).any(axis=1).astype(np.float64))

    return compute


ADDED: Mapping[str, Callable[[Floats, Floats, Ints], Floats]] = {
    "rocAuc": roc_auc,
    "averagePrecision": average_precision,
    "brier": brier,
    "calibrationError": calibration_error,
    "top3Accuracy": top_accuracy(3),
    "top5Accuracy": top_accuracy(5),
}
"""Figures that only this module computes, in the order in which the task declares them."""
WEIGHTED: Mapping[str, Callable[[Floats, Floats, Ints], Floats]] = {
    "accuracy": accuracy,
    "f1Macro": f1_macro,
    "precisionMacro": precision_macro,
    "recallMacro": recall_macro,
    "loss": loss,
    **ADDED,
}
"""Every figure of classification."""


def _mean(weights: Floats, values: Floats) -> Floats:
    return _share(weights @ values, weights.sum(axis=1), empty=np.nan)


def _share(part: Floats, whole: Floats, *, empty: float = 0.0) -> Floats:
    """Divide; ``empty`` where there is nothing to divide by."""
    found: Floats = np.divide(part, whole, out=np.full(np.shape(part), empty), where=whole > 0)
    return found


def _counts(weights: Floats, probabilities: Floats, labels: Ints) -> tuple[Floats, Floats, Floats]:
    """Count rows by class (B, classes): rightly predicted, predicted, there."""
    classes = np.eye(probabilities.shape[1])
    predicted, truth = classes[probabilities.argmax(axis=1)], classes[labels]
    return weights @ (predicted * truth), weights @ predicted, weights @ truth


def _mean_over_classes(figures: Floats, counted: npt.NDArray[np.bool_]) -> Floats:
    return _share((figures * counted).sum(axis=1), counted.sum(axis=1).astype(np.float64), empty=np.nan)


def _mean_of_defined(figures: Floats) -> Floats:
    """Compute the mean over classes (classes, B) of what is defined."""
    defined = ~np.isnan(figures)
    return _share(np.nansum(figures, axis=0), defined.sum(axis=0).astype(np.float64), empty=np.nan)


def _by_threshold(weights: Floats, scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Add up the weights of positive and of negative rows for each distinct score, the highest first: (B, scores)."""
    with np.errstate(divide="ignore"):
        # Ranked alike, but equal where probabilities differ by the rounding of a softmax alone.
        odds = (np.log(scores) - np.log1p(-np.minimum(scores, 1.0))).astype(np.float32)
    order = np.argsort(-odds, kind="stable")
    ranked = odds[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    counted, marked = weights[:, order], positive[order].astype(np.float64)
    above = np.add.reduceat(counted * marked, starts, axis=1)
    return above, np.add.reduceat(counted * (1 - marked), starts, axis=1)
