"""Proposal of an ``interface``: what a file tells; what it does not tell is said. ``inspection`` calls it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx

_CHANNELS = (1, 3, 4)
_FLOATS = ("float32", "float16", "float64")
_ROLES = ("boxes", "scores", "classes")
_NUMBERED = frozenset({"ssd", "boxes-scores-classes"})
_WHOLE_ROW = 6
_FEWEST = 100
"""Positions that a detector has at least; what has fewer may be something else."""
_PASSING_ON = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze"})


@dataclass(slots=True)
class Proposal:
    """An interface to paste, and what has to be added by who knows the model."""

    interface: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def propose(found: Mapping[str, Any], model: onnx.ModelProto) -> Proposal:
    """Propose an interface.

    Args:
        found: Contents of the file as ``inspection`` describes them.
        model: The file.
    """
    proposal = Proposal()
    if len(found["inputs"]) == 1:
        _propose_input(found["inputs"][0], found["metadata"], proposal)
    _propose_output(found, model.graph, proposal)
    return proposal


def _propose_input(value: Mapping[str, Any], metadata: Mapping[str, str], proposal: Proposal) -> None:
    shape = value["shape"]
    if shape is None or len(shape) != 4:
        return
    first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if first == last:
        proposal.unknown.append(f"layout of {value['name']}: {shape} tells neither NCHW nor NHWC")
    else:
        proposal.interface["input"] = {"layout": "NCHW" if first else "NHWC"}
    if value["type"] in _FLOATS:
        if "stride" in metadata and "imgsz" in metadata:  # what Ultralytics writes; its models take pixels of 0 to 1
            proposal.interface.setdefault("input", {})["range"] = [0, 1]
        else:
            proposal.unknown.append("range, mean and std of pixels: no ONNX file tells them; see how it was trained")
    channels = shape[1] if first else shape[3]
    if channels != 1:
        proposal.unknown.append("channelOrder: rgb, unless its pictures were read by OpenCV (bgr)")


def _propose_output(found: Mapping[str, Any], graph: onnx.GraphProto, proposal: Proposal) -> None:
    outputs = found["outputs"]
    classifier = any(
        each["domain"] == "ai.onnx.ml" and each["name"].endswith("Classifier") for each in found["operators"]
    )
    maps = [each for each in outputs if each["type"].startswith("sequence")]
    floats = [each for each in outputs if each["type"] in _FLOATS]
    if len(maps) == 1 or (classifier and len(outputs) == 2 and len(floats) == 1):
        proposal.interface["decoder"] = "sklearn"
        return
    detector = _detector(outputs, found["metadata"])
    if detector is not None:
        proposal.interface |= detector
        whole = detector["decoder"] == "yolo-v8" and outputs[0]["shape"][2] == _WHOLE_ROW
        if found["classes"]:
            proposal.interface["classes"] = len(found["classes"])
        elif whole or detector["decoder"] in _NUMBERED:
            proposal.unknown.append("classes: how many the detector tells apart, since it gives their numbers")
        proposal.unknown.append("whether its scores are logits (activation: sigmoid) or probabilities")
        return
    if len(floats) > 1:
        names = ", ".join(each["name"] for each in floats)
        proposal.unknown.append(f"output: which of {names} is meant")
        return
    if not floats:
        proposal.unknown.append("output: none holds numbers with a fraction, so none holds scores")
        return
    if len(outputs) > 1:
        proposal.interface["output"] = floats[0]["name"]
    if floats[0]["shape"] is None or len(floats[0]["shape"]) != 2:
        proposal.unknown.append(f"decoder: {floats[0]['name']} has shape {floats[0]['shape']}, not (N, classes)")
    elif _ends_in(graph, floats[0]["name"]) == "Softmax":
        proposal.interface["decoder"] = "probabilities"
    else:
        proposal.unknown.append("decoder: class-scores for logits of classes; leave it out for numbers (regression)")


def _detector(outputs: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Propose the decoder of a detector that writes such outputs; None where they look like none."""
    shapes = [each["shape"] for each in outputs if each["shape"]]
    if len(outputs) == 1 and len(shapes) == 1 and len(shapes[0]) == 3:
        rows, columns = shapes[0][1:]
        if (columns == _WHOLE_ROW and isinstance(rows, int) and rows >= _FEWEST) or metadata.get("task") == "detect":
            return {"decoder": "yolo-v8"}
        if _fewer(rows, columns):
            return {"decoder": "yolo-v8"}
        return {"decoder": "yolo-v5"} if _fewer(columns, rows) else None
    names = [each["name"] for each in outputs]
    if "logits" in names and "pred_boxes" in names:
        return {"decoder": "detr", "outputs": {"boxes": "pred_boxes"}}
    for decoder, prefix in (("ssd", "detection_"), ("boxes-scores-classes", "")):
        if {f"{prefix}{role}" for role in _ROLES} <= set(names):
            named = {role: f"{prefix}{role}" for role in _ROLES} if prefix else {}
            return {"decoder": decoder, **({"outputs": named} if named else {})}
    return None


def _fewer(left: object, right: object) -> bool:
    return isinstance(left, int) and isinstance(right, int) and 4 < left < right and right >= _FEWEST


def _ends_in(graph: onnx.GraphProto, name: str) -> str | None:
    """Return the operator that gives an output its numbers."""
    for node in _upwards(graph, name):
        if node.op_type not in _PASSING_ON:
            return str(node.op_type)
    return None


def _upwards(graph: onnx.GraphProto, name: str) -> Iterator[onnx.NodeProto]:
    made_by = {output: node for node in graph.node for output in node.output}
    seen: set[str] = set()
    while name in made_by and name not in seen:
        seen.add(name)
        node = made_by[name]
        yield node
        name = node.input[0] if node.input else ""
