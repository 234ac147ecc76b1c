"""Detectors of other makers: nodes that bring their outputs into the one form that detectors have here.

That form is (N, positions, 4 + classes), as ``evaluation.decoding`` says: x, y, width and height as shares of the
picture, then a score from 0 to 1 for each class. ``adapting`` calls it. A number of a class that was not declared makes
its picture NaN, which the evaluation tells, rather than vanish.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgewright.errors import StepFailed
from edgewright.pipeline.imported.graph_nodes import Nodes
from edgewright.pipeline.imported.onnx_checks import listed, size_of
from edgewright_schemas.model import Interface

ROLES: Mapping[str, tuple[str, ...]] = {
    "yolo-v5": ("boxes",),
    "yolo-v8": ("boxes",),
    "ssd": ("boxes", "scores", "classes"),
    "detr": ("logits", "boxes"),
    "boxes-scores-classes": ("boxes", "scores", "classes"),
}
"""Outputs that each decoder reads."""
_POSITIONS = 1000
"""Detections that a file with any number of them gives: fewer are filled up with scores of 0."""
_WHOLE_ROW = 6
"""Numbers of an end-to-end detection: left, top, right, bottom, score, class."""
Sizes = list[int | None]


def append_detections(model: onnx.ModelProto, origin: str, declared: Interface) -> None:
    """Make detections in the one form a model's only output; its input is (N, channels, height, width).

    Raises:
        StepFailed: The outputs are not what the decoder reads; says what was found.
    """
    decoder = declared.decoder or ""
    ends = _ends(model.graph, origin, declared)
    nodes = Nodes("out")
    shapes = {role: _sizes(value) for role, value in ends.items()}
    names = {role: nodes.floats(value.name) for role, value in ends.items()}
    classes, numbered = declared.classes, False
    if decoder == "yolo-v5":
        width = _last(origin, decoder, shapes["boxes"], 5, classes)
        boxes, scores = _yolo_v5(nodes, names["boxes"], width, declared)
    elif decoder == "yolo-v8" and not _is_whole(origin, shapes["boxes"], classes):
        width = _columns(origin, shapes["boxes"], classes)
        rows = nodes.add("Transpose", names["boxes"], perm=[0, 2, 1])
        boxes = _corner(nodes, nodes.part(rows, 0, 2), nodes.part(rows, 2, 4))
        scores = _activated(nodes, nodes.part(rows, 4, 4 + width), declared)
    elif decoder == "detr":
        width = _last(origin, decoder, shapes["logits"], 1, classes)
        boxes = _corner(nodes, nodes.part(names["boxes"], 0, 2), nodes.part(names["boxes"], 2, 4))
        scores = nodes.part(nodes.add("Softmax", names["logits"], axis=2), 0, width)
    else:
        if classes is None:
            raise StepFailed(
                f"spec.interface.classes: {origin} gives numbers of classes, and nothing tells how many there are",
                hint="write how many classes the model tells apart",
            )
        width, numbered = classes, True
        boxes, scores = _numbered(nodes, names, shapes, declared, width, origin)
    if (declared.box_unit or _unit(decoder)) == "pixels":
        boxes = nodes.add("Div", boxes, _frame(nodes, model.graph.input[0]))
    found = nodes.add("Concat", boxes, scores, axis=2)
    positions = _positions(decoder, shapes)
    if numbered and (positions is None or len(shapes["boxes"]) == 2):
        # As many rows as objects were found: of one picture alone.
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        if positions is None:
            found, positions = _filled(nodes, found, 4 + width), _POSITIONS
    _finish(model, nodes, found, [positions or "positions", 4 + width])


def _ends(graph: onnx.GraphProto, origin: str, declared: Interface) -> dict[str, onnx.ValueInfoProto]:
    outputs = {output.name: output for output in graph.output}
    roles = ROLES[declared.decoder or ""]
    named = dict[str, str](declared.outputs.items())
    if declared.output is not None:
        named.setdefault("boxes", declared.output)
    if len(roles) == 1 and not named and len(outputs) == 1:
        named = {roles[0]: next(iter(outputs))}
    for role in roles:
        if role not in named and role in outputs:
            named[role] = role
    wrong = sorted(set(named) - set(roles))
    missing = [role for role in roles if role not in named]
    unknown = [name for role, name in named.items() if name not in outputs and role in roles]
    if wrong or missing or unknown:
        said = [f"{listed(wrong)} is none of its roles"] if wrong else []
        said += [f"{listed(missing)} is not told"] if missing else []
        said += [f"there is no output {listed(unknown)}"] if unknown else []
        raise StepFailed(
            f"spec.interface.outputs: {declared.decoder} reads {', '.join(roles)} of {origin}; {'; '.join(said)}",
            hint=f"name an output for each: the file has {listed(list(outputs))}",
        )
    return {role: outputs[named[role]] for role in roles}


def _sizes(value: onnx.ValueInfoProto) -> Sizes:
    return [size_of(axis) for axis in value.type.tensor_type.shape.dim]


def _unit(decoder: str) -> str:
    return "share" if decoder in {"ssd", "detr"} else "pixels"


def _positions(decoder: str, shapes: Mapping[str, Sizes]) -> int | None:
    sizes = shapes["boxes"]
    if decoder == "yolo-v8" and len(sizes) == 3 and sizes[2] != _WHOLE_ROW:
        return sizes[2]
    return sizes[-2] if len(sizes) >= 2 else None


def _is_whole(origin: str, sizes: Sizes, classes: int | None) -> bool:
    """Return whether rows are end-to-end detections."""
    if len(sizes) != 3 or sizes[2] != _WHOLE_ROW:
        return False
    if classes is not None and sizes[1] == 4 + classes:
        raise StepFailed(
            f"spec.interface.decoder: {origin} gives (N, {sizes[1]}, 6), which may be raw or end to end",
            hint="export it for another number of detections",
        )
    return True


def _last(origin: str, decoder: str, sizes: Sizes, before: int, classes: int | None) -> int:
    """Return how many classes the last axis has beside what is no class."""
    width = sizes[2] - before if len(sizes) == 3 and sizes[2] is not None else None
    if width is None or width < 1 or (classes is not None and width != classes):
        raise _unlike(origin, decoder, sizes, f"(N, positions, {before} + classes)", classes)
    return width


def _columns(origin: str, sizes: Sizes, classes: int | None) -> int:
    width = sizes[1] - 4 if len(sizes) == 3 and sizes[1] is not None else None
    if width is None or width < 1 or (classes is not None and width != classes):
        raise _unlike(origin, "yolo-v8", sizes, "(N, 4 + classes, positions), or end to end (N, positions, 6)", classes)
    return width


def _unlike(origin: str, decoder: str, sizes: Sizes, wanted: str, classes: int | None) -> StepFailed:
    shown = f"({', '.join('?' if size is None else str(size) for size in sizes)})"
    of = f" of {classes} classes" if classes is not None else ""
    return StepFailed(
        f"spec.interface.decoder: {decoder}{of} gives {wanted}, but {origin} gives {shown}",
        hint="look at the file with edgewright inspect, and name its decoder and its number of classes",
    )


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _yolo_v5(nodes: Nodes, rows: str, width: int, declared: Interface) -> tuple[str, str]:
    boxes = _corner(nodes, nodes.part(rows, 0, 2), nodes.part(rows, 2, 4))
    objectness = _activated(nodes, nodes.part(rows, 4, 5), declared)
    scores = _activated(nodes, nodes.part(rows, 5, 5 + width), declared)
    return boxes, nodes.add("Mul", scores, objectness)


def _corner(nodes: Nodes, centre: str, extent: str) -> str:
    """Turn centre and extent into x, y, width and height."""
    half = nodes.add("Mul", extent, nodes.constant(np.array(0.5, np.float32)))
    return nodes.add("Concat", nodes.add("Sub", centre, half), extent, axis=2)


def _activated(nodes: Nodes, scores: str, declared: Interface) -> str:
    return nodes.add("Sigmoid", scores) if declared.activation == "sigmoid" else scores


def _numbered(
    nodes: Nodes,
    names: Mapping[str, str],
    shapes: Mapping[str, Sizes],
    declared: Interface,
    classes: int,
    origin: str,
) -> tuple[str, str]:
    """Convert boxes by two corners with a score and the number of a class to the one form."""
    if declared.decoder == "yolo-v8":
        rows = names["boxes"]
        corners, score, number = nodes.part(rows, 0, 4), nodes.part(rows, 4, 5), nodes.part(rows, 5, 6)
    else:
        sizes = shapes["boxes"]
        ranks = {role: len(found) for role, found in shapes.items()}
        if (
            ranks["boxes"] not in {2, 3}
            or sizes[-1] not in {4, None}
            or {*ranks.values()} - {ranks["boxes"]} != {ranks["boxes"] - 1}
        ):
            raise _unlike(origin, declared.decoder or "", sizes, "boxes (N, positions, 4), scores and classes", None)
        batch = 0 if ranks["boxes"] == 3 else 1
        corners = nodes.shaped(names["boxes"], [batch, -1, 4])
        score, number = (nodes.shaped(names[role], [batch, -1, 1]) for role in ("scores", "classes"))
    if declared.decoder == "ssd":
        order = nodes.constant(np.array([1, 0, 3, 2], np.int64))
        corners = nodes.add("Gather", corners, order, axis=2)
    first = nodes.part(corners, 0, 2)
    boxes = nodes.add("Concat", first, nodes.add("Sub", nodes.part(corners, 2, 4), first), axis=2)
    begins = declared.first_class if declared.first_class is not None else int(declared.decoder == "ssd")
    each = nodes.constant(np.arange(begins, begins + classes, dtype=np.float32).reshape(1, 1, -1))
    chosen = nodes.floats(nodes.add("Equal", nodes.add("Round", number), each))
    scores = nodes.add("Mul", chosen, _activated(nodes, score, declared))
    beyond = nodes.add("Greater", number, nodes.constant(np.array(begins + classes - 0.5, np.float32)))
    counts = nodes.add("Greater", score, nodes.constant(np.array(0, np.float32)))
    unknown = nodes.add("And", beyond, counts)
    return boxes, nodes.add("Where", unknown, nodes.constant(np.array(np.nan, np.float32)), scores)


def _frame(nodes: Nodes, taken: onnx.ValueInfoProto) -> str:
    """Return width, height, width and height of the input, as constants where it has one size."""
    sizes = _sizes(taken)
    if len(sizes) == 4 and sizes[2] and sizes[3]:
        return nodes.constant(np.array([sizes[3], sizes[2]] * 2, np.float32))
    shape = nodes.add("Shape", taken.name)
    return nodes.floats(nodes.add("Gather", shape, nodes.constant(np.array([3, 2, 3, 2], np.int64)), axis=0))


def _filled(nodes: Nodes, found: str, width: int) -> str:
    """Fill any number of positions of one picture up to a fixed one."""
    more = nodes.constant(np.zeros((1, _POSITIONS, width), np.float32))
    whole = nodes.add("Concat", found, more, axis=1)
    bounds = (nodes.constant(np.array([each], np.int64)) for each in (0, _POSITIONS, 1))
    return nodes.add("Slice", whole, *bounds)


def _finish(model: onnx.ModelProto, nodes: Nodes, found: str, shape: list[int | str]) -> None:
    graph = model.graph
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    first = size_of(batch) or batch.dim_param or "N"
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(found, TensorProto.FLOAT, [first, *shape]))
    graph.node.extend(nodes.nodes)
    graph.initializer.extend(nodes.weights)
