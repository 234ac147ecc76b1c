"""Protocol behind which everything lies that differs by task. Steps ask the task; none compares its name.

Tasks are used by light steps too: what needs torch or torchmetrics is imported where it is called.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgewright.core.facts import DatasetFacts
from edgewright_schemas.model import ModelSpec
from edgewright_schemas.tasks import TaskDeclaration

if TYPE_CHECKING:
    import torch
    from torch import nn

Figures = dict[str, float | None]
"""Figures by metric; None where one cannot be computed."""
Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]


class Evaluator(Protocol):
    """Compares the outputs of one model with the labels."""

    def predictions(self, output: npt.NDArray[Any], variant: str) -> "torch.Tensor":
        """Check an output's shape and bring it into one form, float32 with one entry or row for each row.

        Raises:
            StepFailed: It does not fit the task; says what was expected and what was found.
        """
        ...

    def settled(self, model: Path, predictions: "torch.Tensor") -> "Evaluator":
        """Return an evaluator that knows what outputs mean, decided once on the reference variant."""
        ...

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the evidence says of how outputs were read."""
        ...

    def figures(self, predictions: "torch.Tensor", labels: "torch.Tensor") -> Figures:
        """Compute the task's metrics over some rows."""
        ...

    def weigh(
        self,
        predictions: "torch.Tensor",
        labels: "torch.Tensor",
        weights: npt.NDArray[np.float64],
        metrics: Sequence[str],
    ) -> Mapping[str, npt.NDArray[np.float64]]:
        """Compute metrics over many weightings of some rows: the figures of resampled rows, all at once.

        Args:
            predictions: Of the rows.
            labels: Of the rows.
            weights: (B, N) how often each row counts.
            metrics: The names wanted.

        Returns:
            For each metric (B,); NaN where it is undefined.
        """
        ...

    def details(self, predictions: "torch.Tensor", labels: "torch.Tensor") -> Mapping[str, Any]:
        """Compute what the evidence says besides the metrics."""
        ...

    def headline(self, predictions: "torch.Tensor", labels: "torch.Tensor") -> str:
        """Write the task's first figure for a message: ``accuracy 0.97``."""
        ...

    def confusion(self, predictions: "torch.Tensor", labels: "torch.Tensor") -> list[list[int]] | None:
        """Count rows by true class (rows) and predicted class (columns); None where there are no classes."""
        ...

    def agreement(self, ours: "torch.Tensor", theirs: "torch.Tensor") -> Figures:
        """Compare two variants' predictions for the same rows."""
        ...


class Task(Protocol):
    """One task."""

    name: str
    declaration: TaskDeclaration
    output_hint: str
    """What a module gives for each row, for messages."""

    # ── dataset ───────────────────────────────────────────────────────────────────────────────────────────────

    def configured(self, spec: ModelSpec, facts: DatasetFacts) -> "Task":
        """Return the task as a model's spec and a dataset's facts have it."""
        ...

    def classes(self, facts: DatasetFacts, dataset: str) -> tuple[str, ...] | None:
        """List the classes in the order of a model's outputs; None where outputs are no scores of classes.

        Args:
            facts: Of the dataset.
            dataset: Its name, for messages.

        Raises:
            StepFailed: The dataset's label does not fit the task.
        """
        ...

    def output_shape(self, outputs: int) -> tuple[int | None, ...]:
        """Return the shape of a row's output, without the batch; None where any size will do.

        Args:
            outputs: Classes, or 1 where there are none.
        """
        ...

    def unusable(self, labels: Labels, outputs: int) -> npt.NDArray[np.bool_]:
        """Mark the rows (N,) whose label cannot be learned from."""
        ...

    # ── training ──────────────────────────────────────────────────────────────────────────────────────────────

    def complete(self, body: "nn.Module") -> "nn.Module":
        """Return a built-in's module with what the task puts behind it."""
        ...

    def loss_scale(self, labels: "torch.Tensor") -> float:
        """Return by what the loss is divided, from the labels of the training split."""
        ...

    def loss(
        self, outputs: "torch.Tensor", labels: "torch.Tensor", scale: float, weights: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Compute the default loss of a batch, a scalar.

        Args:
            outputs: Of the module.
            labels: Of the rows.
            scale: What ``loss_scale`` returned.
            weights: What a row of each class counts, where the spec says so.
        """
        ...

    def validation_figures(self, outputs: "torch.Tensor", labels: "torch.Tensor") -> dict[str, float]:
        """Compute the figures that are watched after each epoch; without ``loss``."""
        ...

    # ── evaluation and packaging ──────────────────────────────────────────────────────────────────────────────

    def evaluator(self, classes: int | None) -> Evaluator:
        """Return what compares outputs with labels."""
        ...

    def golden_rows(self, labels: Labels, count: int) -> npt.NDArray[np.int64]:
        """Choose at most ``count`` rows for golden samples, spread over what the labels hold.

        Returns:
            Positions, ascending; the same labels give the same rows.
        """
        ...


def outputs_of(task: Task, facts: DatasetFacts, dataset: str) -> int:
    """Return how many numbers a model of the task gives for each row.

    Raises:
        StepFailed: The dataset's label does not fit the task.
    """
    classes = task.classes(facts, dataset)
    return 1 if classes is None else len(classes)
