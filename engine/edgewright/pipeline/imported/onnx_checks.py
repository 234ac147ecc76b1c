"""Checks ONNX files that edgewright did not write. ``imported.step`` and ``command.step`` call it on their file."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf has no types
from onnxruntime.capi import onnxruntime_pybind11_state as states

from edgewright.core.facts import DatasetFacts, ModelFacts
from edgewright.durable import digest_file
from edgewright.errors import StepFailed
from edgewright.ports import Built

MODEL = "model.onnx"
_SHOWN = 8
_PORTABLE_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operators of ONNX and those that every onnxruntime has; what else it loads is its own, for this processor."""
_COMPILED = frozenset({("com.microsoft", "EPContext")})
"""Holds a graph that an accelerator's compiler has made."""
_LOAD_ERRORS = (
    states.EPFail,
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.NoModel,
    states.NotImplemented,
    states.RuntimeException,
)


def built_from_onnx(path: Path, origin: str, dataset: DatasetFacts | None) -> Built[ModelFacts]:
    """Check a file and make it the result of a step; its digest is the file's.

    Args:
        path: The file.
        origin: Where it came from, for messages.
        dataset: Facts of the dataset whose rows the file must take, where there is one.

    Raises:
        StepFailed: It is no ONNX file that onnxruntime can run, or does not have one input and one output.
    """
    parameters = check_onnx(path, origin, dataset)
    return Built(
        digest=digest_file(path),
        files={MODEL: path},
        facts=ModelFacts(parameters=parameters),
        environment={"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
    )


def check_onnx(path: Path, origin: str, dataset: DatasetFacts | None) -> int:
    """Check a file as built_from_onnx says; returns how many numbers its initializers hold.

    Raises:
        StepFailed: As in built_from_onnx.
    """
    model = checked_file(path, origin)
    graphs = list(graphs_of(model))
    session = loaded(path, origin)
    check_operators(model, origin)
    _check_ends(session, origin, dataset)
    return sum(math.prod(tensor.dims) for graph in graphs for tensor in initializers(graph))


def loaded(path: Path, origin: str) -> onnxruntime.InferenceSession:
    """Load a file into onnxruntime.

    Raises:
        StepFailed: It cannot.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # the error it raises says the same as its log
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        raise StepFailed(
            f"onnxruntime {onnxruntime.__version__} cannot run {origin}: {_first_line(error)}",
            hint="use operators and an opset that onnxruntime knows; devices run the same one",
        ) from error


def checked_file(path: Path, origin: str) -> onnx.ModelProto:
    """Parse a file that must be a valid model which holds its weights; onnxruntime is not asked.

    Raises:
        StepFailed: It is not.
    """
    model = parsed(path, origin)
    graphs = list(graphs_of(model))
    tensors = [tensor for graph in graphs for tensor in initializers(graph)]
    held = [tensor for owner in (*graphs, *model.functions) for node in owner.node for tensor in held_tensors(node)]
    outside = [t.name or "a constant" for t in (*tensors, *held) if t.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise StepFailed(
            f"{origin} keeps weights in other files: {listed(outside)}",
            hint="name them in source.files, as edgewright inspect prints; or save it as one file, with "
            "onnx.save(onnx.load(PATH), PATH)",
        )
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise _invalid(origin, error) from error
    return model


def parsed(path: Path, origin: str) -> onnx.ModelProto:
    """Parse a file, without the weights it keeps elsewhere.

    Raises:
        StepFailed: It is no ONNX file.
    """
    try:
        return onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise _invalid(origin, error) from error


def _invalid(origin: str, error: Exception) -> StepFailed:
    return StepFailed(
        f"{origin} is no valid ONNX model: {_first_line(error)}",
        hint="it must be one file in ONNX format that holds its weights; export it again",
    )


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Walk a model's graph and those inside its operators, such as If and Loop, its functions' too."""
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while waiting:
        owner = waiting.pop()
        if isinstance(owner, onnx.GraphProto):
            yield owner
        for attribute in (attribute for node in owner.node for attribute in node.attribute):
            waiting.extend((*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())))


def initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """List a graph's weights."""
    yield from graph.initializer
    yield from (sparse.values for sparse in graph.sparse_initializer)


def held_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """List the tensors among a node's attributes, as Constant has them."""
    for attribute in node.attribute:
        yield from attribute.tensors
        if attribute.HasField("t"):
            yield attribute.t
        yield from (sparse.values for sparse in attribute.sparse_tensors)
        if attribute.HasField("sparse_tensor"):
            yield attribute.sparse_tensor.values


def check_operators(model: onnx.ModelProto, origin: str) -> None:
    """Refuse operators that run on the machine they were made for alone.

    onnxruntime loads them where it has them: they are what it writes as its optimised model.

    Raises:
        StepFailed: It holds some.
    """
    own = {(function.domain, function.name) for function in model.functions}
    found = {
        f"{node.domain}.{node.op_type}"
        for owner in (*graphs_of(model), *model.functions)
        for node in owner.node
        if (node.domain, node.op_type) not in own
        and (node.domain not in _PORTABLE_DOMAINS or (node.domain, node.op_type) in _COMPILED)
    }
    if found:
        raise StepFailed(
            f"{origin} holds operators for one kind of processor: {listed(sorted(found))}",
            hint="export the model again, or save onnxruntime's optimised one at ORT_ENABLE_EXTENDED or below: above, "
            "weights are laid out for the machine that saves them",
        )


def _check_ends(session: onnxruntime.InferenceSession, origin: str, dataset: DatasetFacts | None) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    for what, found in (("input", inputs), ("output", outputs)):
        if len(found) != 1:
            names = listed([end.name for end in found])
            raise StepFailed(
                f"{origin} has {len(found)} {what}s ({names or 'none'}); it must have exactly one",
                hint=_advice(session),
            )
    if dataset is not None and not _takes(inputs[0].shape, dataset.input_shape):
        raise StepFailed(
            f"{origin} takes {inputs[0].name} of shape {inputs[0].shape}, but the dataset's rows are "
            f"{['N', *dataset.input_shape]}",
            hint="add a resize step to the dataset, or export the model for this shape",
        )


def _advice(session: onnxruntime.InferenceSession) -> str:
    """Write how to come to one input and one output; a command only where it can be followed."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        return "export it with one input that holds all features, in the dataset's order, and with one output"
    if any(not end.type.startswith("tensor(") for end in outputs):
        # skl2onnx' default: a label, and a map from classes to probabilities that no tool can cut off.
        return (
            "write interface: {decoder: sklearn} to the model's spec, beside source; or convert it without the map of "
            "classes, skl2onnx.to_onnx(MODEL, ROWS, options={'zipmap': False}), and keep its scores alone: "
            f"onnx.utils.extract_model(IN, OUT, ['{inputs[0].name}'], ['probabilities'])"
        )
    scores = [end.name for end in outputs if end.type in {"tensor(float)", "tensor(double)", "tensor(float16)"}]
    kept = scores[0] if len(scores) == 1 else "OUTPUT"
    return f"keep one output: onnx.utils.extract_model(IN, OUT, ['{inputs[0].name}'], ['{kept}'])"


def size_of(axis: onnx.TensorShapeProto.Dimension) -> int | None:
    """Return an axis' size; None where any will do, as some exporters write by -1."""
    return axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else None


def _takes(shape: Sequence[int | str | None], row: Sequence[int]) -> bool:
    """Return whether an input of this shape takes rows of that shape; only numbers bind, and the batch does not."""
    fits = (not isinstance(ours, int) or ours == theirs for ours, theirs in zip(shape[1:], row, strict=False))
    return len(shape) == len(row) + 1 and all(fits)


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def listed(names: Sequence[str]) -> str:
    """List names for a message, the first few of many."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
