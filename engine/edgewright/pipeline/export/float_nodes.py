"""Nodes that int8 quantization must leave in float. Called by ``quantization``.

The quantizer drops Clip and Relu and lets the calibrated range clamp instead; that range always contains 0, so a Clip
to 1…6 would give 0. It computes wrong shapes for the bias of a grouped ConvTranspose. And all values of a tensor share
one scale: what a graph does with the results of its last layer may need more than 256 steps.
"""

from collections.abc import Iterable

import onnx
from onnx import numpy_helper

_WEIGHTY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Attention"})
"""Operators that hold a model's weights: what int8 makes smaller and faster."""


def always_in_float(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """List the nodes that the quantizer would break."""
    constants = _constants(model)
    return [
        node
        for node in model.graph.node
        if (node.op_type == "Clip" and not _clips_around_zero(node, constants))
        or (node.op_type == "ConvTranspose" and len(node.input) > 2 and node.input[2] and _groups(node) > 1)
    ]


def tail(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """List the nodes after the last layers with weights: those that no such layer follows."""
    feeds_layers: set[str] = set()
    found = []
    for node in reversed(model.graph.node):
        if node.op_type in _WEIGHTY or feeds_layers.intersection(node.output):
            feeds_layers.update(node.input)
        else:
            found.append(node)
    return found[::-1]


def name_nodes(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """Give names to nodes that have none, in place; the quantizer knows nodes by their names."""
    names = []
    for index, node in enumerate(nodes):
        node.name = node.name or f"in_float_{index}_{node.output[0]}"
        names.append(node.name)
    return names


def _clips_around_zero(node: onnx.NodeProto, constants: dict[str, float]) -> bool:
    """Return whether 0 lies within a Clip's bounds; False where a bound is not known before it runs."""
    low, high = -float("inf"), float("inf")
    for attribute in node.attribute:  # opset 6 to 10
        low = attribute.f if attribute.name == "min" else low
        high = attribute.f if attribute.name == "max" else high
    bounds = list(node.input[1:3])
    if any(name and name not in constants for name in bounds):
        return False
    low = constants[bounds[0]] if bounds and bounds[0] else low
    high = constants[bounds[1]] if len(bounds) > 1 and bounds[1] else high
    return low <= 0 <= high


def _constants(model: onnx.ModelProto) -> dict[str, float]:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors |= {
        node.output[0]: attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    arrays = ((name, numpy_helper.to_array(tensor)) for name, tensor in tensors.items() if len(tensor.dims) < 2)
    return {name: float(array.reshape(-1)[0]) for name, array in arrays if array.size == 1}


def _groups(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)
