"""Non-maximum suppression: of boxes that overlap, the surest stays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgewright_inference.errors import InterfaceError
from edgewright_inference.geometry import Boxes


@dataclass(frozen=True, slots=True)
class Suppression:
    """Bounds of the detections that stay.

    Raises:
        InterfaceError: A value out of its bounds.
    """

    iou: float = 0.45
    """Boxes that overlap by more than this share of their union are the same object."""
    score: float = 0.25
    """Less sure ones are dropped first."""
    max_detections: int = 300
    class_agnostic: bool = False
    """Whether boxes of different classes suppress each other, too."""

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1 or not 0 <= self.score <= 1 or self.max_detections < 1:
            raise InterfaceError("nms takes an iou above 0 and up to 1, a score of 0 to 1, and at least one detection")


def suppress(
    boxes: Boxes, scores: NDArray[np.float32], classes: NDArray[np.int64], how: Suppression
) -> NDArray[np.intp]:
    """Return the positions of the detections that stay, the surest first; of equally sure ones the earlier first.

    Args:
        boxes: (N, 4).
        scores: (N,).
        classes: (N,).
        how: The bounds.
    """
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    order = order[scores[order] >= how.score]
    corners = boxes.astype(np.float64)
    areas = np.maximum(corners[:, 2] - corners[:, 0], 0) * np.maximum(corners[:, 3] - corners[:, 1], 0)
    kept: list[int] = []
    while len(order) and len(kept) < how.max_detections:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[rest, :2])
        high = np.minimum(corners[best, 2:], corners[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[best] + areas[rest] - shared
        same = shared > how.iou * union
        if not how.class_agnostic:
            same &= classes[rest] == classes[best]
        order = rest[~same]
    return np.array(kept, np.intp)
