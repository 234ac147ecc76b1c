"""Outputs of a model as devices compute them, one row at a time, and a proof where they are computed in batches.

Called by ``evaluation.step``. A batch is faster, and says the same of a model whose rows do not touch each other. A
model left in training mode, or one that normalises over the batch, scores well in batches and at random on a device.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.evaluation.batch_tracing import Operator, find_batch_operator
from edgewright.pipeline.export.onnx_runtime import OnnxModel

PROVED_ROWS = 2048
"""Rows run on their own. Of a larger test split they are drawn by a seed that nobody chooses; as soon as one of them
differs, every row is run."""
_ROUNDING = 1e-5
"""Share of the largest output by which the order of additions may move an output."""
_EQUAL = 1e-3
"""Share of an output's deviation up to which a row counts as the same."""
_ACCEPTED = 0.02
"""Share of an output's deviation, as a root mean square, up to which the figures of single rows are taken without
refusing the model: a step of int8, a tie between trees."""
_SMALLEST_SHARE = 0.01
"""An output that hardly varies is compared with this share of the deviation of the one that varies most."""
_OWN_SCALE = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
"""Operators that take one scale from a whole batch by design; on devices each row has its own, which is no fault."""


@dataclass(frozen=True, slots=True)
class BatchDependence:
    """Difference between a model's outputs in batches and row by row."""

    difference: float
    """Root mean square, as a share of the output's deviation; of the output where it is largest."""
    operator: Operator | None
    """The first operator whose result for a row depends on the rows beside it; None where it cannot be seen."""
    in_batches: npt.NDArray[Any]

    @property
    def at_fault(self) -> bool:
        """True when the model is at fault, and not only the batch."""
        own_scale = self.operator is not None and self.operator.kind in _OWN_SCALE
        return self.difference > _ACCEPTED and not own_scale


@dataclass(frozen=True, slots=True)
class RowOutputs:
    """Outputs (N, …) as devices compute them."""

    values: npt.NDArray[Any]
    dependence: BatchDependence | None
    """None: batches give the same."""


def compute_outputs(model: OnnxModel, path: Path, features: npt.NDArray[np.float32]) -> RowOutputs:
    """Compute the output of every row: in batches where that is proved to give what single rows give.

    Args:
        model: The loaded model.
        path: Its file.
        features: (N, …) as ``dataset.files.load_split`` gives them.

    Raises:
        StepFailed: The model does not take such rows, or does not give one output per row.
    """
    if model.interface.one_at_a_time:
        return RowOutputs(model.run(features), None)
    # A single row is given others for company, or there would be no batch to compare with.
    company = features if len(features) > 1 else np.concatenate([features, features / 2, features * 2])
    in_batches = model.run(company)[: len(features)]
    rows = _draw(in_batches)
    alone = model.run(features[rows], rows=1)
    if _same(in_batches[rows], alone):
        return RowOutputs(in_batches, None)
    if len(rows) < len(features):
        alone = model.run(features, rows=1)
    operator = find_batch_operator(path, model.prepare(company))
    return RowOutputs(alone, BatchDependence(_difference(in_batches, alone), operator, in_batches))


def problem_text(name: str, dependence: BatchDependence, batched: str, alone: str) -> str:
    """Write what is wrong with a model whose rows touch each other, and what helps.

    Args:
        name: The variant.
        dependence: What was found.
        batched: A figure of the outputs in batches, in words.
        alone: The same figure of single rows.
    """
    operator = dependence.operator
    cause = f"; the first operator where a row's result depends on the rows beside it is {operator}" if operator else ""
    advice = operator.advice if operator else "compute nothing over the batch: each row's answer must be its own"
    return (
        f"the {name} model gives a row another answer when other rows are computed with it: {batched} in batches, "
        f"{alone} one row at a time, as devices run it{cause}: {advice}"
    )


def _draw(outputs: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Draw the rows to prove by; the same outputs draw the same."""
    if len(outputs) <= PROVED_ROWS:
        return np.arange(len(outputs), dtype=np.int64)
    seed = int.from_bytes(sha256(np.ascontiguousarray(outputs).tobytes()).digest())
    return np.sort(np.random.default_rng(seed).choice(len(outputs), size=PROVED_ROWS, replace=False))


def _same(in_batches: npt.NDArray[Any], alone: npt.NDArray[Any]) -> bool:
    """Compare up to rounding; the largest output of each row must be the same one."""
    if in_batches.shape != alone.shape or not np.array_equal(np.isfinite(in_batches), np.isfinite(alone)):
        return False
    batched, single = (np.nan_to_num(_table(each), posinf=0.0, neginf=0.0) for each in (in_batches, alone))
    if (batched.argmax(axis=1) != single.argmax(axis=1)).any():
        return False
    limit = _EQUAL * _deviation(batched, single) + _ROUNDING * np.abs(single).max(initial=0.0)
    return bool((np.abs(batched - single) <= limit).all())


def _difference(in_batches: npt.NDArray[Any], alone: npt.NDArray[Any]) -> float:
    """Compute the share that BatchDependence.difference tells; 1 where a row is a number in one way only."""
    if in_batches.shape != alone.shape or not np.array_equal(np.isfinite(in_batches), np.isfinite(alone)):
        return 1.0
    batched, single = (np.nan_to_num(_table(each), posinf=0.0, neginf=0.0) for each in (in_batches, alone))
    errors = np.sqrt(np.square(batched - single).mean(axis=0))
    scale = _deviation(batched, single) + _ROUNDING * np.abs(single).max(initial=0.0)
    return float(np.divide(errors, scale, out=(errors > 0).astype(np.float64), where=scale > 0).max(initial=0.0))


def _table(outputs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Write outputs as (N, numbers of a row)."""
    table: npt.NDArray[np.float64] = outputs.reshape(len(outputs), -1).astype(np.float64)
    return table


def _deviation(batched: npt.NDArray[np.float64], single: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    found = np.maximum(batched.std(axis=0), single.std(axis=0))
    larger: npt.NDArray[np.float64] = np.maximum(found, _SMALLEST_SHARE * found.max(initial=0.0))
    return larger
