"""Figures of a regressor's outputs by torchmetrics.

A figure that cannot be computed is None, never 0: no rows, an output that is no finite number, a constant target.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.torch_metrics import regression
from edgewright.pipeline.export.onnx_runtime import finite_or_none, shape_text
from edgewright.pipeline.tasks.protocol import Figures

_CANCELLED = 1e-6
"""Share of the sum of squares below which its difference from the mean's has lost digits: a target that varies little
around a large number."""


@dataclass(frozen=True, slots=True)
class NumberEvaluator:
    """Compares predicted numbers with the true ones."""

    def predictions(self, output: npt.NDArray[Any], variant: str) -> torch.Tensor:
        """Check that an output is one number for each row, and return it as (N,) float32.

        Raises:
            StepFailed: It is not.
        """
        rows = len(output)
        if output.shape not in {(rows,), (rows, 1)}:
            raise StepFailed(
                f"the {variant} model gives an output of shape {shape_text(output.shape)}; expected is "
                f"{shape_text((rows, 1))}: one number for each row",
                hint="give the model one output, or declare a classification task",
            )
        return torch.from_numpy(np.ascontiguousarray(output.reshape(rows), dtype=np.float32))

    def settled(self, model: Path, predictions: torch.Tensor) -> "NumberEvaluator":
        """Return itself: a number means itself."""
        return self

    @property
    def notes(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def figures(self, predictions: torch.Tensor, labels: torch.Tensor) -> Figures:
        """Compute the metrics over some rows."""
        if not len(labels) or not bool(torch.isfinite(predictions).all()):
            return dict.fromkeys(_METRICS)
        return {name: compute(predictions, labels) for name, compute in _METRICS.items()}

    def weigh(
        self,
        predictions: torch.Tensor,
        labels: torch.Tensor,
        weights: npt.NDArray[np.float64],
        metrics: Sequence[str],
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Compute metrics over many weightings of the rows."""
        if not len(labels) or not bool(torch.isfinite(predictions).all()):
            return {name: np.full(len(weights), np.nan) for name in metrics}
        targets = labels.double().numpy()
        errors = predictions.double().numpy() - targets
        count = weights.sum(axis=1)
        squares = weights @ np.square(errors)
        # Around the mean of all rows, so that a target far from 0 loses no digits.
        centred = targets - targets.mean()
        total = weights @ np.square(centred) - np.square(weights @ centred) / count
        varies = total > _CANCELLED * (weights @ np.square(centred))
        r2 = np.divide(squares, total, out=np.full(len(weights), np.nan), where=varies)
        found = {"mae": weights @ np.abs(errors) / count, "rmse": np.sqrt(squares / count), "r2": 1 - r2}
        return {name: found[name] for name in metrics}

    def details(self, predictions: torch.Tensor, labels: torch.Tensor) -> Mapping[str, Any]:
        """Compute nothing besides the metrics."""
        return {}

    def headline(self, predictions: torch.Tensor, labels: torch.Tensor) -> str:
        """Write the root mean square error for a message."""
        value = self.figures(predictions, labels)["rmse"]
        return f"rmse {'cannot be computed' if value is None else format(value, '.4g')}"

    def confusion(self, predictions: torch.Tensor, labels: torch.Tensor) -> None:
        """Return None: there are no classes."""

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> Figures:
        """Compare two variants: the largest difference."""
        return {"maxAbsDifference": finite_or_none((ours - theirs).abs().max().item()) if len(ours) else None}


def _r2(predictions: torch.Tensor, labels: torch.Tensor) -> float | None:
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


def _by_difference(metric: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor, torch.Tensor], float | None]:
    def compute(predictions: torch.Tensor, labels: torch.Tensor) -> float | None:
        return finite_or_none(metric(predictions.double(), labels.double()).item())

    return compute


def _rmse(predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(regression.mean_squared_error(predictions, labels))


_METRICS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], float | None]] = {
    "mae": _by_difference(regression.mean_absolute_error),
    "rmse": _by_difference(_rmse),
    "r2": _r2,
}
