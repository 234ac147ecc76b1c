"""Figures of a model's outputs by torchmetrics, over all rows and over each slice. Called by ``evaluation.step``.

A figure that cannot be computed is None, never 0: no rows, an output that is no finite number, a constant target.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torchmetrics.functional import classification, regression

from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.score_kinds import ScoreKind, as_probabilities
from edgewright.pipeline.export.onnx_runtime import finite_or_none, shape_text

Figures = dict[str, float | None]
_SMALLEST_PROBABILITY = 1e-12
_CANCELLED = 1e-6
"""Share of the sum of squares below which its difference from the mean's has lost digits: a target that varies little
around a large number."""
_DECIMALS = 6
"""torchmetrics divides counts in float32, where 19 of 20 is less than 0.95; a gate at 0.95 must let it pass."""


class MetricEvaluator:
    """Knows how the outputs of one task are compared with the labels."""

    def __init__(self, classes: int | None, scores: ScoreKind = ScoreKind.LOGITS) -> None:
        """Take the number of classes, None for regression, and what a classifier's outputs are."""
        self._classes = classes
        self._scores = scores

    def predictions(self, output: npt.NDArray[Any], variant: str) -> torch.Tensor:
        """Check an output's shape and bring it into one form.

        Returns:
            Classification: (N, classes) as the model gives them. Regression: (N,). float32.

        Raises:
            StepFailed: It does not fit the task; says what was expected and what was found.
        """
        rows = len(output)
        found = shape_text(output.shape)
        if self._classes is not None:
            if output.shape != (rows, self._classes):
                raise StepFailed(
                    f"the {variant} model gives an output of shape {found}; expected is "
                    f"{shape_text((rows, self._classes))}: one number for each of {self._classes} classes",
                    hint="give the model as many outputs as the dataset's label has values",
                )
            return torch.from_numpy(np.ascontiguousarray(output, dtype=np.float32))
        if output.shape not in {(rows,), (rows, 1)}:
            raise StepFailed(
                f"the {variant} model gives an output of shape {found}; expected is {shape_text((rows, 1))}: "
                "one number for each row",
                hint="give the model one output, or declare a classification task",
            )
        return torch.from_numpy(np.ascontiguousarray(output.reshape(rows), dtype=np.float32))

    def figures(self, predictions: torch.Tensor, labels: torch.Tensor) -> Figures:
        """Compute the task's metrics over some rows."""
        metrics = _CLASSIFICATION if self._classes is not None else _REGRESSION
        names = [*metrics, *(["loss"] if self._classes is not None else [])]
        usable = len(labels) > 0 and bool(torch.isfinite(predictions).all())
        if not usable:
            return dict.fromkeys(names)
        found = {name: compute(predictions, labels, self._classes or 0) for name, compute in metrics.items()}
        if self._classes is not None:
            found["loss"] = _loss(as_probabilities(predictions.double(), self._scores), labels)
        return found

    def headline(self, predictions: torch.Tensor, labels: torch.Tensor) -> str:
        """Write the task's first figure for a message: ``accuracy 0.97``."""
        name = "accuracy" if self._classes is not None else "rmse"
        value = self.figures(predictions, labels)[name]
        return f"{name} {'cannot be computed' if value is None else format(value, '.4g')}"

    def confusion(self, predictions: torch.Tensor, labels: torch.Tensor) -> list[list[int]] | None:
        """Count rows by true class (rows) and predicted class (columns); None where there are no classes."""
        if self._classes is None or not bool(torch.isfinite(predictions).all()):
            return None
        counts = classification.multiclass_confusion_matrix(predictions.argmax(dim=1), labels, self._classes)
        return [[int(count) for count in row] for row in counts]

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> Figures:
        """Compare two variants' predictions for the same rows."""
        difference = finite_or_none((ours - theirs).abs().max().item()) if len(ours) else None
        if self._classes is None:
            return {"maxAbsDifference": difference}
        same = finite_or_none((ours.argmax(1) == theirs.argmax(1)).float().mean().item()) if len(ours) else None
        return {"maxAbsDifference": difference, "sameClass": None if difference is None else same}


def slices(columns: pa.Table) -> Iterator[tuple[str, torch.Tensor]]:
    """List every value of every slice column as ``column=value``, with the positions of its rows (at least one)."""
    for name in columns.column_names:
        column = columns.column(name)
        for value in sorted(v for v in pc.unique(column).to_pylist() if v is not None):
            rows = np.flatnonzero(pc.equal(column, value).fill_null(False).to_numpy())
            yield f"{name}={value}", torch.from_numpy(rows)


def _loss(probabilities: torch.Tensor, labels: torch.Tensor) -> float | None:
    """Mean negative log-likelihood of the true class, in nats: cross-entropy."""
    chosen = probabilities.gather(1, labels.unsqueeze(1)).clamp(_SMALLEST_PROBABILITY, 1.0)
    return finite_or_none(-chosen.log().mean().item())


def _r2(predictions: torch.Tensor, labels: torch.Tensor, _classes: int) -> float | None:
    """Compute 1 - residual / total sum of squares, in any unit; undefined for a constant target.

    The sums are those of torchmetrics, bit for bit. Its r2_score takes sums below 0.0001 for 0, so that noise scores 1
    where the target is small.
    """
    if len(labels) < 2 or bool((labels == labels[0]).all()):
        return None
    targets, residuals = labels.double(), labels.double() - predictions.double()
    squares, summed = torch.sum(targets * targets), torch.sum(targets)
    total = squares - summed * (summed / len(targets))
    if total < _CANCELLED * squares:
        total = torch.sum((targets - targets.mean()).square())
    return finite_or_none((1 - torch.sum(residuals * residuals) / total).item())


def _by_class(
    metric: Callable[..., torch.Tensor], average: str
) -> Callable[[torch.Tensor, torch.Tensor, int], float | None]:
    def compute(predictions: torch.Tensor, labels: torch.Tensor, classes: int) -> float | None:
        predicted = predictions.argmax(dim=1)
        figure = metric(predicted, labels, num_classes=classes, average=average)
        return finite_or_none(round(figure.item(), _DECIMALS))

    return compute


def _by_difference(metric: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor, torch.Tensor, int], float | None]:
    def compute(predictions: torch.Tensor, labels: torch.Tensor, _classes: int) -> float | None:
        return finite_or_none(metric(predictions.double(), labels.double()).item())

    return compute


def _rmse(predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(regression.mean_squared_error(predictions, labels))


_Metric = Callable[[torch.Tensor, torch.Tensor, int], float | None]
_CLASSIFICATION: Mapping[str, _Metric] = {
    "accuracy": _by_class(classification.multiclass_accuracy, "micro"),
    "f1Macro": _by_class(classification.multiclass_f1_score, "macro"),
    "precisionMacro": _by_class(classification.multiclass_precision, "macro"),
    "recallMacro": _by_class(classification.multiclass_recall, "macro"),
}
_REGRESSION: Mapping[str, _Metric] = {
    "mae": _by_difference(regression.mean_absolute_error),
    "rmse": _by_difference(_rmse),
    "r2": _r2,
}
