"""Classification: one class for each row, of a picture or a table."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgewright.core.facts import DatasetFacts
from edgewright.pipeline.tasks.labels import check_label
from edgewright.pipeline.tasks.protocol import Evaluator, Labels
from edgewright_schemas.model import ModelSpec
from edgewright_schemas.tasks import TASKS

if TYPE_CHECKING:
    import torch
    from torch import nn


class Classification:
    """One class for each row; a model gives (N, classes) logits or probabilities."""

    output_hint = "one logit per category of the label"

    def __init__(self, name: str, smoothing: float = 0.0) -> None:
        """Take the name, which tells what rows are, and the share of the truth that is spread over all classes."""
        self.name = name
        self._smoothing = smoothing
        self.declaration = TASKS[name]

    def configured(self, spec: ModelSpec, facts: DatasetFacts) -> "Classification":
        """Return the task with the spec's label smoothing."""
        return Classification(self.name, spec.training_or_default.label_smoothing or 0.0)

    def classes(self, facts: DatasetFacts, dataset: str) -> tuple[str, ...]:
        """Return the label's values."""
        check_label(self.name, self.declaration, facts, dataset)
        return tuple(facts.label_values or ())

    def output_shape(self, outputs: int) -> tuple[int | None, ...]:
        """Return the numbers of one row."""
        return (outputs,)

    def unusable(self, labels: Labels, outputs: int) -> npt.NDArray[np.bool_]:
        """Mark labels that are no class."""
        return np.asarray((labels < 0) | (labels >= outputs))

    def complete(self, body: "nn.Module") -> "nn.Module":
        """Return the module as it is: its outputs are logits."""
        return body

    def loss_scale(self, labels: "torch.Tensor") -> float:
        """Return 1: cross-entropy has no unit."""
        return 1.0

    def loss(
        self, outputs: "torch.Tensor", labels: "torch.Tensor", scale: float, weights: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Compute cross-entropy."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, labels, weight=weights, label_smoothing=self._smoothing)

    def validation_figures(self, outputs: "torch.Tensor", labels: "torch.Tensor") -> dict[str, float]:
        """Compute ``accuracy`` and ``f1Macro``."""
        from edgewright.pipeline.training.metrics import classification_figures

        return classification_figures(outputs, labels)

    def evaluator(self, classes: int | None) -> Evaluator:
        """Return metrics by torchmetrics."""
        from edgewright.pipeline.evaluation.class_metrics import ClassEvaluator

        assert classes is not None
        return ClassEvaluator(classes)

    def golden_rows(self, labels: Labels, count: int) -> npt.NDArray[np.int64]:
        """Choose rows of each class in turn, each class with its rows in order."""
        # A row's turn is its position within its own class; rows of the same turn go class by class.
        turn = np.empty(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            turn[rows] = np.arange(len(rows))
        order = np.lexsort((np.arange(len(labels)), labels, turn))
        return np.sort(order[: min(count, len(labels))])
