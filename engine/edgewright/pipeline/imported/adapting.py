"""Adapts a file to what its spec's ``interface`` declares: what devices need travels in the graph. ``step`` calls it.

The adapted file takes a dataset's rows and gives one output, as a model trained here does, so that evaluation, golden
samples and devices compute the same. The result depends on the file and the declaration alone.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgewright.errors import StepFailed
from edgewright.pipeline.imported.detectors import ROLES, append_detections
from edgewright.pipeline.imported.graph_nodes import Nodes
from edgewright.pipeline.imported.onnx_checks import checked_file, listed, size_of
from edgewright_schemas.model import InputInterface, Interface

SCORES = "edgewright.scores"
"""Metadata of an adapted file: ``probabilities`` or ``logits``, as its spec declares."""
CLASSES = "class_names"
_MEANS = {"class-scores": "logits", "probabilities": "probabilities", "sklearn": "probabilities"}
_WHOLE = frozenset({TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64})
_TAKEN = _WHOLE | {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})
_OLDEST_OPSET = 11
_CHANNELS = frozenset({1, 3, 4})


def adapt(path: Path, origin: str, interface: Interface) -> None:
    """Rewrite a file so that it takes rows and gives one output as its interface declares.

    Args:
        path: The file; written again.
        origin: Where it came from, for messages.
        interface: What its spec declares.

    Raises:
        StepFailed: It is no ONNX file that holds its weights, or the declaration contradicts it.
    """
    model = checked_file(path, origin)
    finds_objects = interface.decoder in ROLES
    if not finds_objects:
        _keep_output(model, origin, interface)
    if interface.input is not None:
        _prepend(model, origin, interface.input)
    if finds_objects:
        _check_opset(model, origin)
        append_detections(model, origin, interface)
    _prune(model.graph)
    path.write_bytes(model.SerializeToString(deterministic=True))


# ── outputs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _keep_output(model: onnx.ModelProto, origin: str, interface: Interface) -> None:
    """Make the declared output the only one, without what computes the others alone."""
    graph = model.graph
    chosen = _chosen(graph, origin, interface)
    producer = next((node for node in graph.node if chosen.name in node.output), None)
    if producer is not None and producer.op_type == "ZipMap":
        names = next((_values(a) for a in producer.attribute if a.name.startswith("classlabels_")), [])
        if names and not any(prop.key == CLASSES for prop in model.metadata_props):
            model.metadata_props.add(key=CLASSES, value=str([str(name) for name in names]))
        chosen = _known(model, producer.input[0], len(names) or None)
    elif not chosen.type.HasField("tensor_type") or chosen.type.tensor_type.elem_type not in _FLOATS:
        raise StepFailed(
            f"spec.interface.output: {chosen.name} of {origin} is {_kind(chosen)}, and scores are numbers",
            hint=f"name another: {listed([output.name for output in graph.output])}",
        )
    del graph.output[:]
    graph.output.append(chosen)
    if interface.decoder is not None:
        model.metadata_props.add(key=SCORES, value=_MEANS[interface.decoder])


def _values(attribute: onnx.AttributeProto) -> list[str]:
    return [value.decode() for value in attribute.strings] or list(map(str, attribute.ints))


def _chosen(graph: onnx.GraphProto, origin: str, interface: Interface) -> onnx.ValueInfoProto:
    outputs = {output.name: output for output in graph.output}
    if interface.output is not None:
        if interface.output not in outputs:
            raise StepFailed(
                f"spec.interface.output: {origin} has no output {interface.output!r}",
                hint=f"its outputs are {listed(list(outputs))}",
            )
        return _copied(outputs[interface.output])
    if interface.decoder == "sklearn":
        maps = [output for output in graph.output if not output.type.HasField("tensor_type")]
        scores = maps or [output for output in graph.output if output.type.tensor_type.elem_type in _FLOATS]
        if len(scores) == 1:
            return _copied(scores[0])
    elif len(outputs) == 1:
        return _copied(graph.output[0])
    raise StepFailed(
        f"{origin} has {len(outputs)} outputs ({listed(list(outputs))}); nothing tells which one is meant",
        hint=f"write one of them to spec.interface.output; edgewright inspect {origin} shows them",
    )


def _copied(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    return copy


def _known(model: onnx.ModelProto, name: str, width: int | None) -> onnx.ValueInfoProto:
    """Describe a value inside the graph as an output (N, width)."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    for value in (*inferred.value_info, *model.graph.output):
        if value.name == name and value.type.tensor_type.elem_type in _FLOATS:
            return helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, ["N", width])
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])


def _kind(value: onnx.ValueInfoProto) -> str:
    if value.type.HasField("tensor_type"):
        return f"a tensor of {TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()}"
    return f"a {(value.type.WhichOneof('value') or 'value').removesuffix('_type')}"


def _prune(graph: onnx.GraphProto) -> None:
    """Drop the nodes and weights that no output needs."""
    needed = {output.name for output in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_read_by(node))
    nodes = list(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    sparse = [tensor for tensor in graph.sparse_initializer if tensor.values.name in needed]
    for field, values in ((graph.node, nodes), (graph.initializer, weights), (graph.sparse_initializer, sparse)):
        if len(field) != len(values):
            copies = [type(value).FromString(value.SerializeToString()) for value in values]
            del field[:]
            field.extend(copies)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """List what a node reads, the graphs inside it too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
            yield from (output.name for output in inner.output)
            for below in inner.node:
                yield from _read_by(below)


# ── input ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _prepend(model: onnx.ModelProto, origin: str, declared: InputInterface) -> None:
    """Put before the graph what turns a picture (N, C, H, W) of a dataset into what the file takes."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    taken = [value for value in graph.input if value.name not in weights]
    if len(taken) != 1:
        raise StepFailed(
            f"{origin} has {len(taken)} inputs ({listed([value.name for value in taken])}); it must have exactly one",
            hint="export it with one input that holds a whole row",
        )
    value = taken[0]
    tensor = value.type.tensor_type
    sizes = [size_of(axis) for axis in tensor.shape.dim]
    channels = _checked(value.name, sizes, tensor.elem_type, origin, declared)
    _check_opset(model, origin)

    raw = tensor.elem_type == TensorProto.UINT8 and declared.range in (None, (0, 255)) and not _scales(declared)
    nodes = Nodes("in")
    name = frames = _free(graph, "pixels" if raw else "rows")
    if not raw:
        name = _scale(nodes, name, tensor.elem_type, declared)
    if declared.channel_order == "bgr":
        name = nodes.add("Gather", name, nodes.constant(np.array([2, 1, 0], np.int64)), axis=1)
    if not raw and _scales(declared):
        name = _standardise(nodes, name, declared)
    if not raw and tensor.elem_type != TensorProto.FLOAT:
        if tensor.elem_type in _WHOLE:
            name = nodes.add("Round", name)
        name = nodes.add("Cast", name, to=tensor.elem_type)
    if declared.layout == "NHWC":
        name = nodes.add("Transpose", name, perm=[0, 2, 3, 1])
        sizes = [sizes[0], sizes[3], sizes[1], sizes[2]]
    if name == frames:
        return
    sizes[1] = channels if channels is not None else sizes[1]
    first = tensor.shape.dim[0].dim_param or "N"
    shape = [sizes[0] or first, *(size or f"axis{axis}" for axis, size in enumerate(sizes[1:], 1))]
    nodes.rename_last(value.name)
    made = helper.make_tensor_value_info(frames, TensorProto.UINT8 if raw else TensorProto.FLOAT, shape)
    others = [_copied(other) for other in graph.input if other.name != value.name]
    behind = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.input[:], graph.node[:]
    graph.input.extend((made, *others))
    graph.node.extend((*nodes.nodes, *behind))
    graph.initializer.extend(nodes.weights)


def _checked(name: str, sizes: list[int | None], element: int, origin: str, declared: InputInterface) -> int | None:
    """Compare a declaration with an input's shape and type; returns how many channels it has, where that is known."""
    found = f"{name} of {origin} is {TensorProto.DataType.Name(element).lower()} {[size or '?' for size in sizes]}"
    if len(sizes) != 4 or element not in _TAKEN:
        raise StepFailed(
            f"spec.interface.input is for pictures, and {found}",
            hint="leave interface.input out, and prepare rows by steps of the dataset",
        )
    at = {"NCHW": 1, "NHWC": 3}
    other = "NHWC" if declared.layout == "NCHW" else "NCHW"
    channels = sizes[at[declared.layout]]
    if channels is not None and channels not in _CHANNELS and sizes[at[other]] in _CHANNELS:
        raise StepFailed(
            f"spec.interface.input.layout is {declared.layout}, but {found}", hint=f"write layout: {other}"
        )
    if declared.channel_order == "bgr" and channels not in {3, None}:
        raise StepFailed(
            f"spec.interface.input.channelOrder is bgr, but {found}: {channels} channels have no such order",
            hint="leave channelOrder out",
        )
    for what, given in (("mean", declared.mean), ("std", declared.std)):
        if given is not None and len(given) > 1:
            if channels is not None and len(given) != channels:
                raise StepFailed(
                    f"spec.interface.input.{what} has {len(given)} numbers, but {found}",
                    hint=f"write one number, or {channels}",
                )
            channels = len(given)
    return 3 if declared.channel_order == "bgr" else channels


def _check_opset(model: onnx.ModelProto, origin: str) -> None:
    versions = [entry for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    if not versions:
        model.opset_import.add(domain="", version=_OLDEST_OPSET)
    elif versions[0].version < _OLDEST_OPSET:
        raise StepFailed(
            f"{origin} uses opset {versions[0].version}; spec.interface needs {_OLDEST_OPSET} or newer",
            hint=f"convert it: onnx.version_converter.convert_version(onnx.load(PATH), {_OLDEST_OPSET})",
        )


def _scales(declared: InputInterface) -> bool:
    return declared.mean is not None or declared.std is not None


def _scale(nodes: Nodes, name: str, element: int, declared: InputInterface) -> str:
    """Scale pixels from 0…1 to the declared range."""
    low, high = declared.range or ((0.0, 255.0) if element in _WHOLE else (0.0, 1.0))
    if high - low != 1:
        name = nodes.add("Mul", name, nodes.constant(np.array(high - low, np.float32)))
    if low:
        name = nodes.add("Add", name, nodes.constant(np.array(low, np.float32)))
    return name


def _standardise(nodes: Nodes, name: str, declared: InputInterface) -> str:
    for operator, numbers in (("Sub", declared.mean), ("Div", declared.std)):
        if numbers is not None:
            name = nodes.add(operator, name, nodes.constant(np.array(numbers, np.float32).reshape(1, -1, 1, 1)))
    return name


def _free(graph: onnx.GraphProto, name: str) -> str:
    """Return a name that the graph does not use."""
    used = {value for node in graph.node for value in (*node.input, *node.output)}
    while name in used:
        name = f"{name}_"
    return name
