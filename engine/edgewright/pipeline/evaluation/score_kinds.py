"""Decision what a classifier's outputs are: probabilities or logits. Called by ``evaluation.step``, once for a model.

It is decided on the float variant and holds for every variant, slice and row: int8 softmax adds up to 1 only roughly,
and a forest gives 1.0000001 here and there.
"""

from enum import StrEnum
from pathlib import Path

import onnx
import torch

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
    """Decide by the graph's last operator where that is a softmax, otherwise by the numbers.

    Args:
        model: The ONNX file.
        scores: (N, classes) what it gives.
    """
    if _ends_in_softmax(model):
        return ScoreKind.PROBABILITIES
    finite = scores[torch.isfinite(scores).all(dim=1)].double()
    if not len(finite):
        return ScoreKind.LOGITS
    within = bool(((finite >= -_OUTSIDE) & (finite <= 1 + _OUTSIDE)).all())
    adds_up = float((finite.sum(dim=1) - 1).abs().median()) <= _SUM
    return ScoreKind.PROBABILITIES if within and adds_up else ScoreKind.LOGITS


def as_probabilities(scores: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
    """Turn scores (N, classes) into probabilities; rows that add up to 1 already stay as they are."""
    if kind is ScoreKind.LOGITS:
        return torch.softmax(scores, dim=1)
    positive = scores.clamp_min(0)
    sums = positive.sum(dim=1, keepdim=True)
    as_they_are = ((sums - 1).abs() <= 1e-3) | (sums == 0)
    return torch.where(as_they_are, positive, positive / sums)


def _ends_in_softmax(path: Path) -> bool:
    graph = onnx.load(str(path)).graph
    made_by = {name: node for node in graph.node for name in node.output}
    node = made_by.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSING_ON:
        node = made_by.get(node.input[0])
    return node is not None and node.op_type == "Softmax"
