"""Decoders: what a model's outputs mean, by the name of the layout that their exporter writes.

Each takes the outputs of one frame by role and gives scores or boxes in pixels of the model's input; ``pipeline`` moves
boxes back into the frame and suppresses overlaps. Numbers that cannot be what was declared are refused, never clipped
into range: a logit that passes for a probability makes every threshold mean something else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright_inference.errors import DecodeError, InterfaceError

Array = NDArray[Any]
Activation = Literal["none", "sigmoid", "softmax"]
BoxFormat = Literal["xyxy", "yxyx", "xywh", "cxcywh"]
BoxUnit = Literal["pixels", "share"]

_TOLERANCE = 1e-3
"""A probability may be so far out of 0 to 1: forests and int8 models give 1.0000001 and the like."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Meaning of a model's outputs; None takes the decoder's own."""

    decoder: str
    classes: int
    """How many classes the model tells apart."""
    activation: Activation = "none"
    """Function that turns the model's scores into probabilities."""
    box_format: BoxFormat | None = None
    box_unit: BoxUnit | None = None
    """``share``: of the input's width and height."""
    first_class: int | None = None
    """Number that the model gives the first class; those below are the background."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Detections before suppression, in pixels of the input."""

    boxes: NDArray[np.float32]
    """(N, 4): left, top, right, bottom."""
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    final: bool = False
    """Whether the model has suppressed overlaps itself."""


Scores = NDArray[np.float32]
Decoded = Scores | Candidates


def decode(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Decoded:
    """Decode the outputs of one frame.

    Args:
        outputs: By role, as ``DECODERS`` lists them; each with a first axis of 1.
        how: Their meaning.
        size: Height and width of the input.

    Raises:
        InterfaceError: There is no such decoder, or a role is missing.
        DecodeError: The outputs are not what the decoder reads.
    """
    known = DECODERS.get(how.decoder)
    if known is None:
        raise InterfaceError(f"there is no decoder {how.decoder!r}; known are {', '.join(sorted(DECODERS))}")
    missing = [role for role in known.roles if role not in outputs]
    if missing:
        raise InterfaceError(f"decoder {how.decoder} reads {', '.join(known.roles)}; {', '.join(missing)} is missing")
    arrays = {role: _finite(role, outputs[role]) for role in (*known.roles, *known.optional) if role in outputs}
    return known.run(arrays, how, size)


# ── whole frames ──────────────────────────────────────────────────────────────────────────────────────────────────


def _class_scores(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Scores:
    row = _row("scores", outputs["scores"], how.classes)
    found: Scores = _softmax(row).astype(np.float32)
    return found


def _probabilities(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Scores:
    row = _row("scores", outputs["scores"], how.classes)
    return _as_probabilities("scores", row, how.activation, whole_frame=True)


# ── boxes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _yolo_v5(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Candidates:
    """Rows of (centre, size, objectness, a score for each class)."""
    rows = _one("boxes", outputs["boxes"])
    if rows.ndim != 2 or rows.shape[1] != 5 + how.classes:
        raise DecodeError(
            f"yolo-v5 with {how.classes} classes gives (1, N, {5 + how.classes}), not {outputs['boxes'].shape}"
        )
    objectness = _as_probabilities("objectness", rows[:, 4], how.activation)
    scores = _as_probabilities("scores", rows[:, 5:], how.activation) * objectness[:, None]
    return _best(_corners(rows[:, :4], "cxcywh", how, size), scores)


def _yolo_v8(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Candidates:
    """Columns of (centre, size, a score for each class), as v8 to v12 export; or v10's and v26's end-to-end rows of
    (left, top, right, bottom, score, class).
    """
    found = _one("boxes", outputs["boxes"])
    raw, whole = found.ndim == 2 and found.shape[0] == 4 + how.classes, found.ndim == 2 and found.shape[1] == 6
    if raw and whole:
        raise DecodeError(f"{outputs['boxes'].shape} may be raw or end-to-end: export for another number of detections")
    if raw:
        columns = found.T
        scores = _as_probabilities("scores", columns[:, 4:], how.activation)
        return _best(_corners(columns[:, :4], "cxcywh", how, size), scores)
    if not whole:
        raise DecodeError(
            f"yolo-v8 with {how.classes} classes gives (1, {4 + how.classes}, N), or end to end (1, N, 6); "
            f"not {outputs['boxes'].shape}"
        )
    scores = _as_probabilities("scores", found[:, 4], how.activation)
    classes = _class_numbers(found[:, 5], how)
    return _known(Candidates(_corners(found[:, :4], "xyxy", how, size), scores, classes, final=True), how)


def _small_detector(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Candidates:
    """Rows of (left, top, width, height as shares, a score for each class): what edgewright trains."""
    rows = _one("boxes", outputs["boxes"])
    if rows.ndim != 2 or rows.shape[1] != 4 + how.classes:
        raise DecodeError(
            f"small-detector with {how.classes} classes gives (1, N, {4 + how.classes}), not {outputs['boxes'].shape}"
        )
    scores = _as_probabilities("scores", rows[:, 4:], how.activation)
    filled = Decoding(how.decoder, how.classes, box_format=how.box_format or "xywh", box_unit=how.box_unit or "share")
    return _best(_corners(rows[:, :4], "xywh", filled, size), scores)


def _ssd(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Candidates:
    """TensorFlow's detection API: shares of the picture, vertical first, classes from 1, and how many rows count."""
    filled = Decoding(
        how.decoder,
        how.classes,
        how.activation,
        how.box_format or "yxyx",
        how.box_unit or "share",
        1 if how.first_class is None else how.first_class,
    )
    return _boxes_scores_classes(outputs, filled, size)


def _boxes_scores_classes(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Candidates:
    boxes = _listed(outputs["boxes"], 2)
    scores, classes = _listed(outputs["scores"], 1), _listed(outputs["classes"], 1)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),) or classes.shape != (len(boxes),):
        shapes = ", ".join(f"{role} {outputs[role].shape}" for role in ("boxes", "scores", "classes"))
        raise DecodeError(
            f"boxes (N, 4), scores (N) and classes (N) are read, each perhaps in a batch of 1; not {shapes}"
        )
    count = len(boxes)
    if "count" in outputs:
        count = int(np.asarray(outputs["count"]).reshape(-1)[0])
        if not 0 <= count <= len(boxes):
            raise DecodeError(f"count says {count} of {len(boxes)} boxes")
    numbers = _class_numbers(classes[:count], how)
    probable = _as_probabilities("scores", scores[:count], how.activation)
    return _known(Candidates(_corners(boxes[:count], "xyxy", how, size), probable, numbers, final=True), how)


def _detr(outputs: Mapping[str, Array], how: Decoding, size: tuple[int, int]) -> Candidates:
    """Queries: logits of the classes and of no object at the end, and centre and size as shares."""
    logits, boxes = _one("logits", outputs["logits"]), _one("boxes", outputs["boxes"])
    if logits.ndim != 2 or boxes.shape != (len(logits), 4) or logits.shape[1] != how.classes + 1:
        raise DecodeError(
            f"detr with {how.classes} classes gives logits (1, N, {how.classes + 1}) and boxes (1, N, 4), "
            f"not {outputs['logits'].shape} and {outputs['boxes'].shape}"
        )
    scores = _softmax(logits)[:, :-1].astype(np.float32)
    filled = Decoding(how.decoder, how.classes, "none", how.box_format or "cxcywh", how.box_unit or "share")
    found = _best(_corners(boxes, "cxcywh", filled, size), scores)
    return Candidates(found.boxes, found.scores, found.classes, final=True)


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _finite(role: str, values: Array) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise DecodeError(f"{role} holds {array.dtype}, not numbers")
    bad = int((~np.isfinite(array)).sum()) if array.dtype.kind == "f" else 0
    if bad:
        raise DecodeError(f"{role} holds numbers that are not finite: {bad} of {array.size}")
    return array


def _one(role: str, values: Array) -> Array:
    if values.ndim < 2 or values.shape[0] != 1:
        raise DecodeError(f"{role} is of one frame, with a first axis of 1; not {values.shape}")
    first: Array = values[0]
    return first


def _listed(values: Array, rank: int) -> Array:
    """Take a batch of one off, where there is one: exporters differ."""
    found: Array = values[0] if values.ndim == rank + 1 and values.shape[0] == 1 else values
    return found


def _row(role: str, values: Array, classes: int) -> Array:
    row = values.reshape(-1)
    if row.size != classes or (values.ndim > 1 and values.shape[0] != 1):
        raise DecodeError(f"{role} of {classes} classes has the shape (1, {classes}), not {values.shape}")
    return row


def _softmax(values: Array) -> NDArray[np.float64]:
    exact = values.astype(np.float64)
    powers = np.exp(exact - exact.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _as_probabilities(role: str, values: Array, activation: Activation, *, whole_frame: bool = False) -> Scores:
    """Return scores of 0 to 1.

    Args:
        role: Name of the output, for messages.
        values: (classes,) of a whole frame; (N, classes) or (N,) of boxes.
        activation: Function that makes probabilities of them.
        whole_frame: Whether they are of a whole frame.

    Raises:
        DecodeError: They are outside, by more than rounding.
        InterfaceError: A softmax of numbers that are not of classes.
    """
    if activation == "softmax":
        if role != "scores" or values.ndim != (1 if whole_frame else 2):
            raise InterfaceError(f"softmax is over classes, and {role} are one number for each box: declare sigmoid")
        return _softmax(values).astype(np.float32)
    exact = values.astype(np.float64)
    if activation == "sigmoid":
        exact = np.where(exact >= 0, 1 / (1 + np.exp(-np.abs(exact))), 1 - 1 / (1 + np.exp(-np.abs(exact))))
    if exact.size and (exact.min() < -_TOLERANCE or exact.max() > 1 + _TOLERANCE):
        raise DecodeError(
            f"{role} are {exact.min():g} to {exact.max():g}, no probabilities: where they are logits, declare the "
            "activation, sigmoid or softmax"
        )
    found: Scores = np.clip(exact, 0.0, 1.0).astype(np.float32)
    return found


def _corners(boxes: Array, own: BoxFormat, how: Decoding, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return boxes as left, top, right, bottom in pixels of the input."""
    exact = boxes.astype(np.float64)
    form = how.box_format or own
    if form == "yxyx":
        exact = exact[:, [1, 0, 3, 2]]
    elif form == "cxcywh":
        exact = np.concatenate([exact[:, :2] - exact[:, 2:] / 2, exact[:, :2] + exact[:, 2:] / 2], axis=1)
    elif form == "xywh":
        exact = np.concatenate([exact[:, :2], exact[:, :2] + exact[:, 2:]], axis=1)
    if how.box_unit == "share":
        exact = exact * np.array([size[1], size[0]] * 2)
    found: NDArray[np.float32] = exact.astype(np.float32)
    return found


def _best(boxes: NDArray[np.float32], scores: Scores) -> Candidates:
    """Take the likeliest class of each box; of equals the first."""
    classes = scores.argmax(axis=1) if scores.size else np.zeros(len(boxes), np.int64)
    best = np.take_along_axis(scores, classes[:, None], axis=1)[:, 0] if scores.size else np.zeros(len(boxes))
    return Candidates(boxes, best.astype(np.float32), classes.astype(np.int64))


def _class_numbers(values: Array, how: Decoding) -> NDArray[np.int64]:
    whole = np.rint(values.astype(np.float64))
    if np.abs(whole - values).max(initial=0.0) > _TOLERANCE:
        raise DecodeError("classes holds numbers that are not whole: are classes and scores swapped?")
    return whole.astype(np.int64) - (how.first_class or 0)


def _known(found: Candidates, how: Decoding) -> Candidates:
    """Leave the background out, which is below the first class, and refuse classes above the last.

    Raises:
        DecodeError: There are more classes than were declared.
    """
    if found.classes.max(initial=-1) >= how.classes:
        worst = int(found.classes.max()) + (how.first_class or 0)
        raise DecodeError(f"class {worst} is beyond the {how.classes} declared: is the first class 0 or 1?")
    at = found.classes >= 0
    return Candidates(found.boxes[at], found.scores[at], found.classes[at], found.final)


@dataclass(frozen=True, slots=True)
class Decoder:
    """One layout: the roles of the outputs it reads."""

    run: Callable[[Mapping[str, Array], Decoding, tuple[int, int]], Decoded]
    roles: Sequence[str]
    optional: Sequence[str] = ()


DECODERS: Mapping[str, Decoder] = {
    "class-scores": Decoder(_class_scores, ("scores",)),
    "probabilities": Decoder(_probabilities, ("scores",)),
    "yolo-v5": Decoder(_yolo_v5, ("boxes",)),
    "yolo-v8": Decoder(_yolo_v8, ("boxes",)),
    "small-detector": Decoder(_small_detector, ("boxes",)),
    "ssd": Decoder(_ssd, ("boxes", "scores", "classes"), ("count",)),
    "detr": Decoder(_detr, ("logits", "boxes")),
    "boxes-scores-classes": Decoder(_boxes_scores_classes, ("boxes", "scores", "classes"), ("count",)),
}
"""By name. scikit-learn's layout, a label and probabilities, is read as ``probabilities`` of its second output."""
