"""Objects in pictures: the true ones, those a model found, and which of them are the same.

Boxes are (N, 4) float64: x, y, width, height in pixels, zero-based and continuous. Used by ``detection_metrics``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TrueObjects:
    """The objects of one picture; none is a picture without objects, which counts."""

    boxes: Floats
    categories: Ints
    """Positions in the label's values."""
    crowd: Flags
    """Regions that hold several objects: found ones within are neither right nor wrong."""


@dataclass(frozen=True, slots=True)
class FoundObjects:
    """The detections of one picture."""

    boxes: Floats
    categories: Ints
    scores: Floats


@dataclass(frozen=True, slots=True)
class Matched:
    """Detections of one category in one picture, by descending score, and what each is."""

    scores: Floats
    matches: Flags
    """(thresholds, N): those that are a true object."""
    ignored: Flags
    """(thresholds, N): those that are neither right nor wrong."""
    expected: int
    """True objects that should be found."""


def overlaps(found: Floats, true: Floats, crowd: Flags) -> Floats:
    """Compute the intersection over union of each pair (found, true); over the found box's area for a crowd."""
    left, top = (np.maximum(found[:, None, axis], true[None, :, axis]) for axis in (0, 1))
    right, bottom = (
        np.minimum(found[:, None, axis] + found[:, None, axis + 2], true[None, :, axis] + true[None, :, axis + 2])
        for axis in (0, 1)
    )
    shared = np.clip(right - left, 0, None) * np.clip(bottom - top, 0, None)
    own, other = found[:, 2] * found[:, 3], true[:, 2] * true[:, 3]
    whole = np.where(crowd[None, :], own[:, None], own[:, None] + other[None, :] - shared)
    result: Floats = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return result


def match(
    true: TrueObjects,
    found: FoundObjects,
    category: int,
    thresholds: Floats,
    *,
    most: int | None = None,
    areas: tuple[float, float] = (0.0, np.inf),
) -> Matched:
    """Match the detections of one category to true objects as COCO does: greedily, the highest score first.

    Args:
        true: Of the picture.
        found: Of the picture.
        category: The one to look at.
        thresholds: (T,) least intersections over union.
        most: Detections looked at, the highest scores; None: all.
        areas: Smallest and largest area (square pixels) of objects that count.
    """
    order = np.flatnonzero(found.categories == category)
    order = order[np.argsort(-found.scores[order], kind="stable")][:most]
    wanted = np.flatnonzero(true.categories == category)
    aside = true.crowd[wanted] | _outside(true.boxes[wanted], areas)
    # Objects that count come first: a detection takes one of those if it can.
    first = np.argsort(aside, kind="stable")
    wanted, aside = wanted[first], aside[first]
    crowd = true.crowd[wanted]
    shared = overlaps(found.boxes[order], true.boxes[wanted], crowd)
    matches = np.zeros((len(thresholds), len(order)), dtype=bool)
    ignored = np.tile(_outside(found.boxes[order], areas), (len(thresholds), 1))
    for level, threshold in enumerate(thresholds):
        taken = np.zeros(len(wanted), dtype=bool)
        for each in range(len(order)):
            chosen = _best(shared[each], taken & ~crowd, aside, min(float(threshold), 1 - 1e-10))
            if chosen is not None:
                taken[chosen] = True
                matches[level, each] = not aside[chosen]
                ignored[level, each] = bool(aside[chosen])
    return Matched(found.scores[order], matches, ignored, int((~aside).sum()))


def _best(shared: Floats, taken: Flags, aside: Flags, threshold: float) -> int | None:
    """Return the true object with the largest overlap; of equal ones the last, and those that count before others."""
    for group in (~aside, aside):
        open_ = np.flatnonzero(group & ~taken & (shared >= threshold))
        if len(open_):
            overlap = shared[open_]
            return int(open_[len(open_) - 1 - int(overlap[::-1].argmax())])
    return None


def _outside(boxes: Floats, areas: tuple[float, float]) -> Flags:
    area = boxes[:, 2] * boxes[:, 3]
    result: Flags = (area < areas[0]) | (area > areas[1])
    return result
