"""Export of torch modules to ONNX, and repeatable bytes of ONNX files. Used by ``export.step`` and ``quantization``."""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from edgewright.errors import StepFailed
from edgewright.pipeline.export.onnx_runtime import first_lines

INPUT_NAME = "input"
OUTPUT_NAME = "output"
_LOWEST_CAPTURED_OPSET = 18
"""From this one on torch captures the graph, which refuses what it cannot export. Older ones it writes only by tracing;
onnx's version converter has no adapters for common operators."""
_NOISY_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def export_module(module: nn.Module, input_shape: Sequence[int], opset: int) -> onnx.ModelProto:
    """Export a module in evaluation mode.

    Args:
        module: Takes float32 (N, *input_shape), gives one tensor (N, …).
        input_shape: One row's shape, without the batch.
        opset: The ONNX operator set to write.

    Returns:
        A checked model with input ``input``, output ``output``, any batch size, and repeatable bytes.

    Raises:
        StepFailed: The module cannot be exported, or not in this opset.
    """
    # Two rows: with one, the exporter would take the batch for a constant.
    example = torch.zeros((2, *input_shape), dtype=torch.float32)
    write = _by_graph_capture if opset >= _LOWEST_CAPTURED_OPSET else _by_tracing
    try:
        with _quiet():
            model = write(module, example, opset)
    except (RuntimeError, AssertionError, ValueError) as error:
        # OnnxExporterError is a RuntimeError; so is most of what tracing raises.
        raise StepFailed(
            f"the model cannot be exported to ONNX: {first_lines(error.__cause__ or error)}",
            hint="its forward must use torch operations only, take any batch size, and not branch on values",
        ) from error
    if opset_of(model) != opset:
        raise StepFailed(
            f"the model needs opset {opset_of(model)}, not {opset}",
            hint=f"set package.opset to {opset_of(model)}",
        )
    if len(model.graph.output) != 1:
        raise StepFailed(
            f"the model gives {len(model.graph.output)} outputs", hint="its forward must return exactly one tensor"
        )
    make_repeatable(model)
    check_model(model, "the exported model")
    return model


def _by_graph_capture(module: nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=opset,
        verbose=False,
        external_data=False,
    )
    assert program is not None
    return program.model_proto


def _by_tracing(module: nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (example,),
            written,
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
            opset_version=opset,
        )
        return onnx.load(str(written))


def opset_of(model: onnx.ModelProto) -> int:
    """Read the version of the default operator set; 0 when the model imports none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)


def make_repeatable(model: onnx.ModelProto) -> None:
    """Remove, in place, what says how and by whom a model was made, so that the same model has the same bytes."""
    model.ClearField("producer_name")
    model.ClearField("producer_version")
    model.ClearField("doc_string")
    del model.metadata_props[:]
    _strip_graph(model.graph)
    # onnxruntime's optimiser imports every operator set it knows; devices should see those that are used.
    used = {node.domain for nodes in (model.graph.node, *(f.node for f in model.functions)) for node in _all(nodes)}
    kept = [entry for entry in model.opset_import if not entry.domain or entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for function in model.functions:
        function.ClearField("doc_string")
        del function.metadata_props[:]
        _strip_nodes(function.node)


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.name = "model"
    graph.ClearField("doc_string")
    del graph.metadata_props[:]
    # Shapes in between are inferred again by whoever needs them; they are no part of the model.
    del graph.value_info[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.ClearField("doc_string")
        del value.metadata_props[:]
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        node.ClearField("doc_string")
        del node.metadata_props[:]
        for graph in _subgraphs(node):
            _strip_graph(graph)


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """List nodes and those of the graphs inside them (the branches of an If, the body of a Loop)."""
    for node in nodes:
        yield node
        for graph in _subgraphs(node):
            yield from _all(graph.node)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def check_model(model: onnx.ModelProto, what: str) -> None:
    """Check a model with onnx's own checker.

    Raises:
        StepFailed: It is not valid.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StepFailed(f"{what} is no valid ONNX: {first_lines(error)}") from error


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model's bytes, the same for the same model."""
    path.write_bytes(model.SerializeToString(deterministic=True))


def run_module(module: nn.Module, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute a module's output.

    Raises:
        StepFailed: It returns no tensor.
    """
    with torch.no_grad():
        output: Any = module(torch.from_numpy(np.ascontiguousarray(features)))
    if not isinstance(output, torch.Tensor):
        raise StepFailed(
            f"the model's forward returns {type(output).__name__}", hint="it must return exactly one tensor"
        )
    return cast(npt.NDArray[np.float32], output.to(torch.float32).numpy())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about itself out of the step's log; errors still pass."""
    before = {name: logging.getLogger(name).level for name in _NOISY_LOGGERS}
    try:
        for name in before:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
