"""Weights of classes in the loss, and how often their rows are drawn. Called by ``training.step``."""

from collections.abc import Sequence

import torch

from edgewright.core.suggestions import suggestion
from edgewright.errors import StepFailed
from edgewright_schemas.model import Training


def class_weights(training: Training, labels: torch.Tensor, classes: Sequence[str]) -> torch.Tensor | None:
    """Compute what a row of each class counts, float32 (classes,); None where all count the same.

    balanced: rows / (classes with rows * rows of the class), as scikit-learn has it. A class without a name counts 1.

    Raises:
        StepFailed: A class is named that the label does not have.
    """
    given = training.class_weights
    if given is None:
        return None
    if given == "balanced":
        counts = torch.bincount(labels, minlength=len(classes)).double()
        there = counts > 0
        weights = len(labels) / (there.sum() * counts.clamp_min(1))
        return torch.where(there, weights, torch.ones_like(weights)).float()
    unknown = [name for name in given if name not in classes]
    if unknown:
        raise StepFailed(
            f"training.classWeights: the label has no class {', '.join(unknown)}",
            hint=suggestion(unknown[0], classes),
        )
    return torch.tensor([given.get(name, 1.0) for name in classes])


def row_weights(training: Training, labels: torch.Tensor) -> torch.Tensor | None:
    """Compute how often each row is drawn beside others, float64 (N,); None where each is drawn once."""
    if training.sampling is None:
        return None
    return 1 / torch.bincount(labels).double()[labels]
