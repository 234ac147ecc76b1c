"""Splits of a dataset as checked tensors, and the order of rows in batches. Called by ``training.step``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgewright.core.facts import DatasetFacts
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.training.module import Shape

_MISSING_HINT = (
    "fill or drop such rows in a dataset step, and declare a check such as {column: NAME, missing: {max: 0}}"
)


@dataclass(frozen=True, slots=True)
class Rows:
    """One split, on the CPU."""

    features: torch.Tensor
    """(N, C, H, W) in [0, 1], or (N, F)."""
    labels: torch.Tensor
    """(N,); int64 classes or float32 targets."""

    def __len__(self) -> int:
        return len(self.labels)


def load_rows(files: Mapping[str, Path], facts: DatasetFacts, split: str, shape: Shape) -> Rows:
    """Read a split of the dataset and check that it can be learned from.

    Raises:
        StepFailed: A feature or a label is missing or not finite; names the columns.
    """
    loaded = load_split(files, facts, split)
    problems = _missing_features(loaded.features, facts)
    labels = loaded.labels
    bad = shape.task.unusable(labels, shape.outputs)
    if bad.any():
        problems.append(f"{facts.label} ({int(bad.sum())} rows)")
    if problems:
        raise StepFailed(
            f"the {split} split has missing or infinite values in {', '.join(problems)}", hint=_MISSING_HINT
        )
    return Rows(torch.from_numpy(loaded.features), torch.from_numpy(labels))


def _missing_features(features: "np.typing.NDArray[np.float32]", facts: DatasetFacts) -> list[str]:
    """Name the feature columns with values that are not finite; a category never has one."""
    if features.ndim != 2 or np.isfinite(features).all():
        return []
    bad = (~np.isfinite(features)).sum(axis=0)
    names: list[str] = []
    for name in facts.features:
        names += [name] * len(facts.columns[name].values or [name])
    return [f"{name} ({int(count)} rows)" for name, count in zip(names, bad, strict=True) if count]


def batches(
    rows: int, size: int, shuffling: torch.Generator, weights: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """List the row numbers of each batch of one epoch, in a new order.

    A last batch of one row joins the one before: batch normalisation cannot learn from a single row.

    Args:
        rows: How many there are.
        size: Of a batch.
        shuffling: Draws the order.
        weights: (rows,) how often each is drawn beside others, with replacement; None: each once.
    """
    if weights is None:
        order = torch.randperm(rows, generator=shuffling)
    else:
        order = torch.multinomial(weights, rows, replacement=True, generator=shuffling)
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
