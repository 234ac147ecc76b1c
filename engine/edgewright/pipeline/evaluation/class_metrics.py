"""Figures of a classifier's outputs by torchmetrics, and by ``score_metrics`` where rows are weighted.

A figure that cannot be computed is None, never 0: no rows, an output that is no finite number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation import score_metrics
from edgewright.pipeline.evaluation.score_kinds import ScoreKind, as_probabilities, score_kind
from edgewright.pipeline.evaluation.torch_metrics import classification
from edgewright.pipeline.export.onnx_runtime import finite_or_none, shape_text
from edgewright.pipeline.tasks.protocol import Figures

_SMALLEST_PROBABILITY = 1e-12
_NAMES = ("accuracy", "f1Macro", "precisionMacro", "recallMacro", "loss", *score_metrics.ADDED)
_DECIMALS = 6
"""torchmetrics divides counts in float32, where 19 of 20 is less than 0.95; a gate at 0.95 must let it pass."""


@dataclass(frozen=True, slots=True)
class ClassEvaluator:
    """Compares scores of classes with the true ones."""

    classes: int
    scores: ScoreKind | None = None
    """What outputs are; None: not decided yet, and read as logits."""

    def predictions(self, output: npt.NDArray[Any], variant: str) -> torch.Tensor:
        """Check that an output is (N, classes), and return it as the model gives it, float32.

        Raises:
            StepFailed: It is not.
        """
        expected = (len(output), self.classes)
        if output.shape != expected:
            raise StepFailed(
                f"the {variant} model gives an output of shape {shape_text(output.shape)}; expected is "
                f"{shape_text(expected)}: one number for each of {self.classes} classes",
                hint="give the model as many outputs as the dataset's label has values",
            )
        return torch.from_numpy(np.ascontiguousarray(output, dtype=np.float32))

    def settled(self, model: Path, predictions: torch.Tensor) -> "ClassEvaluator":
        """Return an evaluator that knows whether outputs are probabilities or logits."""
        return ClassEvaluator(self.classes, score_kind(model, predictions))

    @property
    def notes(self) -> Mapping[str, Any]:
        """``outputs``: probabilities or logits."""
        return {"outputs": self.scores.value} if self.scores is not None else {}

    def figures(self, predictions: torch.Tensor, labels: torch.Tensor) -> Figures:
        """Compute the metrics over some rows."""
        if not len(labels) or not bool(torch.isfinite(predictions).all()):
            return dict.fromkeys(_NAMES)
        found = {name: compute(predictions, labels, self.classes) for name, compute in _METRICS.items()}
        probabilities = as_probabilities(predictions.double(), self.scores or ScoreKind.LOGITS)
        weighed = self.weigh(predictions, labels, np.ones((1, len(labels))), tuple(score_metrics.ADDED))
        added = {name: finite_or_none(float(values[0])) for name, values in weighed.items()}
        return {**found, "loss": _loss(probabilities, labels), **added}

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
        probabilities = as_probabilities(predictions.double(), self.scores or ScoreKind.LOGITS).numpy()
        truth = labels.numpy()
        return {name: score_metrics.WEIGHTED[name](weights, probabilities, truth) for name in metrics}

    def details(self, predictions: torch.Tensor, labels: torch.Tensor) -> Mapping[str, Any]:
        """Compute nothing besides the metrics."""
        return {}

    def headline(self, predictions: torch.Tensor, labels: torch.Tensor) -> str:
        """Write the accuracy for a message."""
        value = self.figures(predictions, labels)["accuracy"]
        return f"accuracy {'cannot be computed' if value is None else format(value, '.4g')}"

    def confusion(self, predictions: torch.Tensor, labels: torch.Tensor) -> list[list[int]] | None:
        """Count rows by true class (rows) and predicted class (columns)."""
        if not bool(torch.isfinite(predictions).all()):
            return None
        counts = classification.multiclass_confusion_matrix(predictions.argmax(dim=1), labels, self.classes)
        return [[int(count) for count in row] for row in counts]

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> Figures:
        """Compare two variants: the largest difference, and the share of rows for which both give the same class."""
        difference = finite_or_none((ours - theirs).abs().max().item()) if len(ours) else None
        same = finite_or_none((ours.argmax(1) == theirs.argmax(1)).float().mean().item()) if len(ours) else None
        return {"maxAbsDifference": difference, "sameClass": None if difference is None else same}


def _loss(probabilities: torch.Tensor, labels: torch.Tensor) -> float | None:
    """Mean negative log-likelihood of the true class, in nats: cross-entropy."""
    chosen = probabilities.gather(1, labels.unsqueeze(1)).clamp(_SMALLEST_PROBABILITY, 1.0)
    return finite_or_none(-chosen.log().mean().item())


def _by_class(
    metric: Callable[..., torch.Tensor], average: str
) -> Callable[[torch.Tensor, torch.Tensor, int], float | None]:
    def compute(predictions: torch.Tensor, labels: torch.Tensor, classes: int) -> float | None:
        predicted = predictions.argmax(dim=1)
        figure = metric(predicted, labels, num_classes=classes, average=average)
        return finite_or_none(round(figure.item(), _DECIMALS))

    return compute


_METRICS: Mapping[str, Callable[[torch.Tensor, torch.Tensor, int], float | None]] = {
    "accuracy": _by_class(classification.multiclass_accuracy, "micro"),
    "f1Macro": _by_class(classification.multiclass_f1_score, "macro"),
    "precisionMacro": _by_class(classification.multiclass_precision, "macro"),
    "recallMacro": _by_class(classification.multiclass_recall, "macro"),
}
