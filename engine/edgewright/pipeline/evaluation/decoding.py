"""Objects from a detector's outputs: each class's highest scores, without those that overlap a higher one.

Called by ``detection_evaluator`` and by the figures after each epoch. An output is (N, positions, 4 + classes): x, y,
width and height as shares of the picture, then a score from 0 to 1 for each class.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.evaluation.objects import FoundObjects, TrueObjects, overlaps
from edgewright_schemas.model import Nms

LOWEST = 0.01
"""Score from which detections are measured: precision over recall needs those that devices do not report, too."""
_CANDIDATES = 1000
_NONE = -1.0

Table = npt.NDArray[Any]


def decode(outputs: Table, frame: tuple[int, int], nms: Nms) -> npt.NDArray[np.float32]:
    """Decode outputs.

    Args:
        outputs: (N, positions, 4 + classes).
        frame: Width and height of the pictures, in pixels.
        nms: Which detections are kept.

    Returns:
        (N, most of a picture, 6): category, x, y, width, height in pixels, score; by descending score, the category -1
        after a picture's last one. A picture with an output that is no finite number is all NaN.
    """
    pictures = [_decode_one(each.astype(np.float64), frame, nms) for each in outputs]
    most = max((len(each) for each in pictures if each is not None), default=0) or 1
    table = np.zeros((len(pictures), most, 6), dtype=np.float32)
    table[:, :, 0] = _NONE
    for place, found in zip(table, pictures, strict=True):
        if found is None:
            place[:] = np.nan
        else:
            place[: len(found)] = found
    return table


def _decode_one(output: npt.NDArray[np.float64], frame: tuple[int, int], nms: Nms) -> npt.NDArray[np.float64] | None:
    if not np.isfinite(output).all():
        return None
    boxes = output[:, :4] * np.array([frame[0], frame[1], frame[0], frame[1]], dtype=np.float64)
    kept: list[npt.NDArray[np.float64]] = [np.zeros((0, 6))]
    for category in range(output.shape[1] - 4):
        scores = output[:, 4 + category]
        chosen = np.flatnonzero(scores >= LOWEST)
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:_CANDIDATES]
        chosen = chosen[suppress(boxes[chosen], nms.iou)]
        kept.append(np.column_stack([np.full(len(chosen), category), boxes[chosen], scores[chosen]]))
    found = np.concatenate(kept)
    first: npt.NDArray[np.float64] = found[np.argsort(-found[:, 5], kind="stable")][: nms.max_detections]
    return first


def suppress(boxes: npt.NDArray[np.float64], iou: float) -> npt.NDArray[np.int64]:
    """Return the positions of boxes, given by descending score, that overlap no kept one by more than ``iou``."""
    shared = overlaps(boxes, boxes, np.zeros(len(boxes), dtype=bool))
    open_ = np.ones(len(boxes), dtype=bool)
    kept = []
    for each in range(len(boxes)):
        if open_[each]:
            kept.append(each)
            open_ &= shared[each] <= iou
    return np.array(kept, dtype=np.int64)


def found_objects(table: Table) -> list[FoundObjects]:
    """Read decoded detections (N, most, 6)."""
    pictures = []
    for place in table.astype(np.float64):
        there = place[place[:, 0] >= 0]
        pictures.append(FoundObjects(there[:, 1:5], there[:, 0].astype(np.int64), there[:, 5]))
    return pictures


def true_objects(table: Table) -> list[TrueObjects]:
    """Read labels (N, most, 6), as ``dataset.boxes`` writes them."""
    pictures = []
    for place in table.astype(np.float64):
        there = place[place[:, 0] >= 0]
        pictures.append(TrueObjects(there[:, 1:5], there[:, 0].astype(np.int64), there[:, 5] > 0))
    return pictures
