"""Decision what a classifier's outputs are: probabilities or logits. Called by ``evaluation.step``, once for a model.

It is decided on the float variant and holds for every variant, slice and row: int8 softmax adds up to 1 only roughly,
and a forest gives 1.0000001 here and there.
"""

from enum import StrEnum
from pathlib import Path

import onnx
import torch

from edgewright.errors import StepFailed
from edgewright.pipeline.imported.adapting import SCORES

_OUTSIDE = 0.01
"""How far a probability may be below 0 or above 1."""
_SUM = 0.05
"""How far the middle row's sum may be from 1."""
_PASSING_ON = frozenset({"Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze"})
"""Operators that change a number's form and not its meaning."""


class ScoreKind(StrEnum):
    """Meaning of a classifier's outputs."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"


def score_kind(model: Path, scores: torch.Tensor) -> ScoreKind:
    """Take what the file's spec declared; else by the graph's last operator where that is a softmax, or the numbers.

    Args:
        model: The ONNX file.
        scores: (N, classes) what it gives.

    Raises:
        StepFailed: Probabilities were declared, and the numbers are none.
    """
    parsed = onnx.load(str(model))
    declared = next((prop.value for prop in parsed.metadata_props if prop.key == SCORES), None)
    finite = scores[torch.isfinite(scores).all(dim=1)].double()
    if declared == ScoreKind.PROBABILITIES and len(finite):
        _check_probabilities(finite)
    if declared is not None:
        return ScoreKind(declared)
    if _ends_in_softmax(parsed.graph):
        return ScoreKind.PROBABILITIES
    within = len(finite) > 0 and bool(((finite >= -_OUTSIDE) & (finite <= 1 + _OUTSIDE)).all())
    return ScoreKind.PROBABILITIES if within and _off_one(finite) <= _SUM else ScoreKind.LOGITS


def _off_one(scores: torch.Tensor) -> float:
    """Return how far the middle row's sum is from 1."""
    return float((scores.sum(dim=1) - 1).abs().median())


def _check_probabilities(scores: torch.Tensor) -> None:
    low, high, total = float(scores.min()), float(scores.max()), float(scores.sum(dim=1).median())
    if low < -_OUTSIDE or high > 1 + _OUTSIDE or _off_one(scores) > _SUM:
        raise StepFailed(
            f"spec.interface.decoder says that outputs are probabilities, but they go from {low:.4g} to {high:.4g}, "
            f"and the middle row adds up to {total:.4g}",
            hint="write decoder: class-scores if they are logits; several labels at once are no classification",
        )


def as_probabilities(scores: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
    """Turn scores (N, classes) into probabilities; rows that add up to 1 already stay as they are."""
    if kind is ScoreKind.LOGITS:
        return torch.softmax(scores, dim=1)
    positive = scores.clamp_min(0)
    sums = positive.sum(dim=1, keepdim=True)
    as_they_are = ((sums - 1).abs() <= 1e-3) | (sums == 0)
    return torch.where(as_they_are, positive, positive / sums)


def _ends_in_softmax(graph: onnx.GraphProto) -> bool:
    made_by = {name: node for node in graph.node for name in node.output}
    node = made_by.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSING_ON:
        node = made_by.get(node.input[0])
    return node is not None and node.op_type == "Softmax"
