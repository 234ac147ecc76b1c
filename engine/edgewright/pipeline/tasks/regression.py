"""Regression: one number for each row, in the label's unit."""

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


class Regression:
    """One number for each row; a model gives (N, 1) in the label's unit."""

    name = "regression"
    declaration = TASKS["regression"]
    output_hint = "one number per row: (N, 1)"

    def configured(self, spec: ModelSpec, facts: DatasetFacts) -> "Regression":
        """Return itself: nothing of it depends on the dataset."""
        return self

    def classes(self, facts: DatasetFacts, dataset: str) -> None:
        """Check the label; there are no classes."""
        check_label(self.name, self.declaration, facts, dataset)

    def output_shape(self, outputs: int) -> tuple[int | None, ...]:
        """Return the numbers of one row."""
        return (1,)

    def unusable(self, labels: Labels, outputs: int) -> npt.NDArray[np.bool_]:
        """Mark labels that are no finite number."""
        return ~np.isfinite(labels)

    def complete(self, body: "nn.Module") -> "nn.Module":
        """Return the module behind which its output is scaled to the label's unit."""
        from edgewright.pipeline.training.architectures import ScaledOutput

        return ScaledOutput(body)

    def loss_scale(self, labels: "torch.Tensor") -> float:
        """Return the labels' variance, so that learning rates mean the same in any unit."""
        deviation = float(labels.double().std(correction=0))
        return deviation**2 if deviation > 0 else 1.0

    def loss(
        self, outputs: "torch.Tensor", labels: "torch.Tensor", scale: float, weights: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Compute the mean squared error in units of the scale."""
        from torch.nn.functional import mse_loss

        return mse_loss(outputs[:, 0], labels) / scale

    def validation_figures(self, outputs: "torch.Tensor", labels: "torch.Tensor") -> dict[str, float]:
        """Compute ``mae`` and ``rmse``."""
        from edgewright.pipeline.training.metrics import regression_figures

        return regression_figures(outputs, labels)

    def evaluator(self, classes: int | None) -> Evaluator:
        """Return metrics by torchmetrics."""
        from edgewright.pipeline.evaluation.number_metrics import NumberEvaluator

        assert classes is None
        return NumberEvaluator()

    def golden_rows(self, labels: Labels, count: int) -> npt.NDArray[np.int64]:
        """Choose rows at even steps of the labels' rank."""
        ranked = np.argsort(labels, kind="stable")
        steps = np.linspace(0, len(labels) - 1, min(count, len(labels))).round().astype(np.int64)
        return np.sort(ranked[steps])
