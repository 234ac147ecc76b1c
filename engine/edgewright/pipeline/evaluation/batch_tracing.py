"""Search for the operator that makes a row's result depend on the rows computed with it. Called by ``batching``.

Every float tensor of the graph becomes an output; a few rows are run together and one by one, and the first node in the
graph's order whose inputs agree and whose result does not is the one. Graphs inside nodes are not entered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from edgewright.pipeline.export.onnx_runtime import ORT_ERRORS

_ROWS = 8
_TOLERANCE = 1e-3
_EVALUATION = (
    "export the model in evaluation mode: module.eval(), torch.onnx.export(..., training=TrainingMode.EVAL); in a "
    "module of your own pass training=self.training, never training=True"
)
_RANDOM = frozenset({"Dropout", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"})

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Operator:
    """One node of a graph."""

    kind: str
    name: str
    training: bool

    def __str__(self) -> str:
        """Write it for a message: ``BatchNormalization 'bn1' (training mode)``."""
        shown = f"{self.kind} {self.name!r}" if self.name else self.kind
        return f"{shown} (training mode)" if self.training else shown

    @property
    def advice(self) -> str:
        """Advice for a hint."""
        if self.training or self.kind in _RANDOM:
            return _EVALUATION
        return (
            "let it compute over the values of one row, not over the batch (the first axis); a batch normalisation "
            "must use the statistics it learned: no training=True in the module's forward"
        )


def find_batch_operator(path: Path, rows: npt.NDArray[Any]) -> Operator | None:
    """Find the first operator whose result for a row depends on other rows; None where it cannot be seen.

    Args:
        path: The ONNX file.
        rows: (N, …) as the model takes them; the first few are used.
    """
    model = onnx.load(str(path))
    given = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    chosen = rows[:_ROWS]
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        together = _run(session, chosen)
        alone = [_run(session, chosen[i : i + 1]) for i in range(len(chosen))]
    except ORT_ERRORS:
        return None
    mixed: set[str] = set()
    for node in model.graph.node:
        outputs = [name for name in node.output if name in together]
        apart = [name for name in outputs if not _agrees(together[name], [found[name] for found in alone])]
        if apart and not mixed.intersection(node.input):
            return Operator(node.op_type, node.name, _in_training_mode(model, node))
        mixed.update(apart)
    return None


def _run(session: ort.InferenceSession, rows: npt.NDArray[Any]) -> Tensors:
    names = [output.name for output in session.get_outputs()]
    found: Sequence[Any] = session.run(names, {session.get_inputs()[0].name: rows})
    return {name: value for name, value in zip(names, found, strict=True) if _is_float(value)}


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)


def _agrees(together: npt.NDArray[Any], alone: Sequence[npt.NDArray[Any]]) -> bool:
    """Return whether each row's part of a tensor is what that row gives by itself; True where no part can be told."""
    one = alone[0].shape
    if together.ndim != len(one):
        return True
    differing = [axis for axis, (many, single) in enumerate(zip(together.shape, one, strict=True)) if many != single]
    if not differing:
        return all(_close(together, each) for each in alone)
    if len(differing) > 1 or together.shape[differing[0]] != len(alone) * one[differing[0]]:
        return True
    parts = np.split(together, len(alone), axis=differing[0])
    return all(_close(part, each) for part, each in zip(parts, alone, strict=True))


def _close(part: npt.NDArray[Any], alone: npt.NDArray[Any]) -> bool:
    if part.shape != alone.shape:
        return True
    scale = float(np.abs(alone).max(initial=0.0))
    return bool(np.allclose(part, alone, rtol=0.0, atol=_TOLERANCE * scale, equal_nan=True))


def _in_training_mode(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    if node.op_type == "Dropout":
        return True
    return node.op_type == "BatchNormalization" and any(
        attribute.name == "training_mode" and attribute.i for attribute in node.attribute
    )
