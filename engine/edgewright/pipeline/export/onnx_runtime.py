"""Runs ONNX models through onnxruntime on the engine. Used by the steps export, evaluate and package.

One thread and onnxruntime's default graph optimisation: what the agent uses too, and the same figures every time.
"""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edgewright.errors import StepFailed

FP32 = "fp32"
INT8 = "int8"
ORDER = (INT8, FP32)
"""Variants, the preferred first."""

ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_state.EPFail,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)
"""What onnxruntime raises for a model it cannot load or run; they have no common base but Exception."""

_ELEMENTS: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
_FLOATS = frozenset({"tensor(float)", "tensor(float16)", "tensor(double)"})
_WHOLE = frozenset({"int32", "int64"})
_BATCH_ROWS = 64
_LINES = 3
"""Lines of an onnxruntime error that a message shows."""


@dataclass(frozen=True, slots=True)
class Interface:
    """Interface of a model: its input and its output."""

    input_name: str
    input_type: str
    """numpy's name: float32, float16, float64, uint8 (raw pixels), int32 or int64."""
    input_shape: tuple[int | None, ...]
    """Without the batch; None where the model takes any size."""
    output_name: str
    one_at_a_time: bool
    """Whether the model takes one row only; otherwise it takes any number."""


class OnnxModel:
    """A loaded ONNX model and how to feed it."""

    def __init__(self, path: Path) -> None:
        """Load a model.

        Raises:
            StepFailed: onnxruntime cannot load it, or its input or output is of no kind devices can use.
        """
        self._name = path.name
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4  # the error it raises says the same as its log
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except ORT_ERRORS as error:
            raise StepFailed(
                f"onnxruntime {ort.__version__} cannot load {path.name}: {first_lines(error)}",
                hint="make the file with an opset and operators this onnxruntime has",
            ) from error
        self.interface = _interface(self._session, path.name)

    def run(self, features: npt.NDArray[np.float32], *, rows: int = _BATCH_ROWS) -> npt.NDArray[Any]:
        """Compute the output of every row.

        Args:
            features: (N, …) as ``dataset.files.load_split`` gives them.
            rows: The most rows to compute at once.

        Returns:
            (N, …): the chosen output, as the model gives it.

        Raises:
            StepFailed: The model does not take such rows, or does not give one output per row.
        """
        self.check_input(features.shape[1:])
        at_once = 1 if self.interface.one_at_a_time else rows
        parts = [self._run_batch(features[i : i + at_once]) for i in range(0, len(features), at_once)]
        outputs: npt.NDArray[Any] = np.concatenate(parts) if parts else np.zeros((0,), np.float32)
        return outputs

    def latencies(self, features: npt.NDArray[np.float32], *, runs: int, warm_up: int) -> list[float]:
        """Measure single-sample runs, in milliseconds; rows are taken in turn."""
        name, outputs = self.interface.input_name, [self.interface.output_name]
        samples = [self.prepare(features[i : i + 1]) for i in range(min(len(features), runs))]
        found = []
        for i in range(warm_up + runs):
            feed = {name: samples[i % len(samples)]}
            start = time.perf_counter()
            self._session.run(outputs, feed)
            found.append((time.perf_counter() - start) * 1000)
        return found[warm_up:]

    def prepare(self, features: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Turn features into the model's input type; a model of uint8 takes raw pixels 0…255.

        Raises:
            StepFailed: It takes whole numbers, and some are none.
        """
        if self.interface.input_type == "uint8":
            pixels: npt.NDArray[np.uint8] = np.rint(features * np.float32(255)).astype(np.uint8)
            return pixels
        if self.interface.input_type in _WHOLE and not np.array_equal(features, np.rint(features)):
            raise StepFailed(
                f"{self._name} takes whole numbers ({self.interface.input_type}), but the dataset's rows hold others",
                hint="pictures: declare interface.input, so that they are given as 0 to 255; tables: leave no missing "
                "values and no fractions in the features",
            )
        prepared: npt.NDArray[Any] = np.ascontiguousarray(features, dtype=np.dtype(self.interface.input_type))
        return prepared

    def check_input(self, shape: Sequence[int]) -> None:
        """Compare what the model takes with the dataset's rows.

        Raises:
            StepFailed: They differ; says both shapes.
        """
        expected = self.interface.input_shape
        fits = len(expected) == len(shape) and all(e in (None, s) for e, s in zip(expected, shape, strict=True))
        if not fits:
            raise StepFailed(
                f"{self._name} takes rows of shape {shape_text(expected)}, but the dataset's are "
                f"{shape_text(tuple(shape))}",
                hint="prepare the dataset with steps that give the model's shape, or change the model's input",
            )

    def _run_batch(self, features: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        shape = shape_text(features.shape)
        try:
            (output,) = self._session.run(
                [self.interface.output_name], {self.interface.input_name: self.prepare(features)}
            )
        except ORT_ERRORS as error:
            raise StepFailed(
                f"{self._name} fails on an input of shape {shape}: {first_lines(error)}",
                hint="the model must take any number of rows at once, or exactly one",
            ) from error
        if not isinstance(output, np.ndarray) or output.ndim == 0 or len(output) != len(features):
            found = shape_text(output.shape) if isinstance(output, np.ndarray) else f"type {type(output).__name__}"
            raise StepFailed(
                f"{self._name} gives an output of shape {found} for an input of shape {shape}",
                hint="the first dimension of the output must be the batch",
            )
        rows: npt.NDArray[Any] = output
        return rows


def _interface(session: ort.InferenceSession, name: str) -> Interface:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    for what, ends in (("input", inputs), ("output", outputs)):
        if len(ends) != 1:
            listed = ", ".join(f"{end.name} {end.type}" for end in ends) or "none"
            raise StepFailed(f"{name} has {len(ends)} {what}s: {listed}", hint=f"a model has exactly one {what}")
    (taken,), (given,) = inputs, outputs
    if taken.type not in _ELEMENTS:
        raise StepFailed(
            f"input {taken.name!r} of {name} is a {taken.type}", hint=f"it must be one of {', '.join(_ELEMENTS)}"
        )
    if given.type not in _FLOATS:
        raise StepFailed(
            f"output {given.name!r} of {name} is a {given.type}",
            hint="export logits, probabilities or predicted numbers, not class positions",
        )
    sizes = [size if isinstance(size, int) and size >= 0 else None for size in taken.shape]
    if not sizes or sizes[0] not in (None, 1):
        raise StepFailed(
            f"input {taken.name!r} of {name} has shape {shape_text(sizes)}",
            hint="its first dimension is the batch: leave it open, or 1; devices run one sample at a time",
        )
    return Interface(
        input_name=taken.name,
        input_type=np.dtype(_ELEMENTS[taken.type]).name,
        input_shape=tuple(sizes[1:]),
        output_name=given.name,
        one_at_a_time=sizes[0] == 1,
    )


def variant_file(variant: str) -> str:
    """Name the file of a variant."""
    return f"model.{variant}.onnx"


def variants_in_order(made: Collection[str]) -> list[str]:
    """Sort the variants an export made, the preferred first."""
    return [name for name in ORDER if name in made] + sorted(set(made) - set(ORDER))


def shape_text(shape: Sequence[int | None]) -> str:
    """Write a shape: ``(1, 16, 16)``, ``?`` where any size will do."""
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def finite_or_none(value: float) -> float | None:
    """Keep a figure that could be computed; None stands for one that could not."""
    value = float(value)
    return value if math.isfinite(value) else None


def unusable_rows(output: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mark the rows (N,) of an output (N, …) with a value that is no finite number."""
    marked: npt.NDArray[np.bool_] = ~np.isfinite(output.reshape(len(output), -1)).all(axis=1)
    return marked


def count_unusable(output: npt.NDArray[Any]) -> int:
    """Count the rows of an output with a value that is no finite number."""
    return int(unusable_rows(output).sum())


def first_lines(error: BaseException) -> str:
    """Take what a message needs of a library's long error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:_LINES]) or type(error).__name__
