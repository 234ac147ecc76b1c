"""Figures of one pass over the validation split, for progress, history and early stopping; ``train`` calls it.

``evaluate`` measures the packaged model with torchmetrics; these are the same formulas, computed without its import.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from edgewright.errors import StepFailed
from edgewright.pipeline.tasks.protocol import Task
from edgewright_schemas.model import EarlyStopping
from edgewright_schemas.tasks import LOWER_IS_BETTER


def classification_figures(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Compute ``accuracy`` and ``f1Macro`` of logits (N, K) for labels (N,); the mean is over classes that occur."""
    classes = logits.shape[1]
    found = logits.argmax(dim=1)
    confusion = torch.bincount(labels * classes + found, minlength=classes * classes).reshape(classes, classes)
    hits = confusion.diagonal().double()
    occurrences = (confusion.sum(dim=0) + confusion.sum(dim=1)).double()
    f1 = 2 * hits[occurrences > 0] / occurrences[occurrences > 0]
    return {"accuracy": float(hits.sum() / len(labels)), "f1Macro": float(f1.mean())}


def regression_figures(predictions: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """Compute ``mae`` and ``rmse`` of predictions (N, 1) for targets (N,), in the label's unit."""
    errors = predictions[:, 0].double() - targets.double()
    return {"mae": float(errors.abs().mean()), "rmse": float(errors.square().mean().sqrt())}


def check_stopping_metric(stopping: EarlyStopping, task: Task, *, validation_rows: int) -> None:
    """Refuse an early stopping that this training cannot follow.

    Raises:
        StepFailed: The metric belongs to another task, or there are no rows to compute it on.
    """
    known = sorted({"loss", *task.declaration.watched_names})
    if stopping.metric not in known:
        raise StepFailed(
            f"training.earlyStopping.metric {stopping.metric} does not exist for this task",
            hint=f"use {', '.join(known)}",
        )
    if validation_rows == 0:
        raise StepFailed(
            "training.earlyStopping needs validation rows, but the dataset's validation split is empty",
            hint="give split.validation a share, or leave earlyStopping out",
        )


@dataclass(slots=True)
class Best:
    """The best epoch so far; without early stopping, the newest."""

    stopping: EarlyStopping | None
    epoch: int = 0
    value: float = 0.0
    stale: int = 0
    """Epochs since the best one."""

    def offer(self, epoch: int, figures: Mapping[str, float]) -> bool:
        """Take an epoch's figures; returns whether it is the best now."""
        if self.stopping is None:
            self.epoch = epoch
            return True
        metric = self.stopping.metric
        value = figures.get("valLoss" if metric == "loss" else metric)
        if value is None:
            raise StepFailed(
                f"{metric}, which training.earlyStopping follows, cannot be computed on the validation split",
                hint="give the validation split rows with objects, or follow the loss",
            )
        gain = self.value - value if metric in LOWER_IS_BETTER else value - self.value
        if self.epoch and gain <= self.stopping.min_delta:
            self.stale += 1
            return False
        self.epoch, self.value, self.stale = epoch, value, 0
        return True

    @property
    def exhausted(self) -> bool:
        """True when patience has run out."""
        return self.stopping is not None and self.stale >= self.stopping.patience
