"""Static int8 quantization of an ONNX file with onnxruntime. Called by ``export.step``.

QDQ format, per-channel S8 weights, U8 activations: what reference CPUs and the common edge accelerators run. Weights
have seven bits: with eight, x86 processors without VNNI add pairs of products in 16 bits, which saturate, so that they
compute something else than other devices. Method:
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.registry import QDQRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgewright.pipeline.export.float_nodes import always_in_float, name_nodes, tail
from edgewright.pipeline.export.onnx_export import make_repeatable, opset_of, write_model
from edgewright.pipeline.export.onnx_runtime import ORT_ERRORS, Interface, first_lines

_BATCH_ROWS = 32
_DEFAULT_DOMAIN = frozenset({"", "ai.onnx"})
_LOWEST_OPSET = 13
"""The first with scales per channel."""
_FAILURES: tuple[type[Exception], ...] = (
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AssertionError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    *ORT_ERRORS,
)
"""What the quantizer raises for a graph it cannot work on."""


@dataclass(frozen=True, slots=True)
class NotQuantized:
    """Quantization could not be done, and why."""

    reason: str


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Feeds calibration rows to onnxruntime in batches."""

    def __init__(self, interface: Interface, rows: npt.NDArray[Any]) -> None:
        at_once = 1 if interface.one_at_a_time else _BATCH_ROWS
        batches = [{interface.input_name: rows[i : i + at_once]} for i in range(0, len(rows), at_once)]
        self._batches: Iterator[dict[str, npt.NDArray[Any]]] = iter(batches)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """Give the next batch, by input name; None after the last."""
        return next(self._batches, None)


def choose_rows(count: int, wanted: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose which of ``count`` rows calibrate, in order: seeded, without repetition, at most ``wanted``."""
    if wanted >= count:
        return np.arange(count, dtype=np.int64)
    chosen: npt.NDArray[np.int64] = np.random.default_rng(seed).choice(count, size=wanted, replace=False)
    return np.sort(chosen)


def quantize(
    source: Path, target: Path, interface: Interface, rows: npt.NDArray[Any], *, float_tail: bool = False
) -> NotQuantized | None:
    """Write the int8 form of a model.

    Args:
        source: The float model.
        target: The file to write; not written when this cannot be done.
        interface: What the model takes.
        rows: Calibration rows, as the model takes them.
        float_tail: Leave in float what follows the last layers with weights.

    Returns:
        None when it is done, otherwise why not.
    """
    if not len(rows):
        return NotQuantized("there are no validation rows to calibrate with")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".quantize-") as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        whole = onnx.load(str(source))
        if problem := _cannot_be_quantized(whole):
            return NotQuantized(problem)
        if _import_each_set_once(whole):
            source = Path(folder) / "source.onnx"
            onnx.save(whole, str(source))
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            kept = _keep_in_float(prepared, float_tail=float_tail)
            quantize_static(
                str(prepared),
                str(quantized),
                _Rows(interface, rows),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                reduce_range=True,
                nodes_to_exclude=kept,
            )
        except _FAILURES as error:
            return NotQuantized(f"onnxruntime's quantizer cannot work on it: {first_lines(error)}")
        model = onnx.load(str(quantized))
    if not any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return NotQuantized(_no_operator(model))
    make_repeatable(model)
    write_model(model, target)
    return None


def _cannot_be_quantized(model: onnx.ModelProto) -> str:
    """Write why the quantizer cannot do anything with a model; empty where it may."""
    if not any(node.op_type in QDQRegistry and node.domain in _DEFAULT_DOMAIN for node in model.graph.node):
        return _no_operator(model)
    if (opset := opset_of(model)) < _LOWEST_OPSET:
        return (
            f"it has opset {opset}, and weights have a scale for each channel from opset {_LOWEST_OPSET} on: "
            f"export it with opset {_LOWEST_OPSET} or a later one"
        )
    return ""


def _no_operator(model: onnx.ModelProto) -> str:
    kinds = ", ".join(sorted({node.op_type for node in model.graph.node}))
    return f"none of its operators ({kinds}) can be quantized"


def _import_each_set_once(model: onnx.ModelProto) -> bool:
    """Drop repeated imports of an operator set, which the quantizer refuses, in place; return whether it did."""
    found = {"" if entry.domain == "ai.onnx" else entry.domain: int(entry.version) for entry in model.opset_import}
    repeated = len(found) < len(model.opset_import)
    if repeated:
        del model.opset_import[:]
        model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in found.items())
    return repeated


def _keep_in_float(prepared: Path, *, float_tail: bool) -> list[str]:
    """Name the nodes to leave in float; a node without a name gets one in the file."""
    model = onnx.load(str(prepared))
    names = name_nodes([*always_in_float(model), *(tail(model) if float_tail else [])])
    if names:
        onnx.save(model, str(prepared))
    return names
