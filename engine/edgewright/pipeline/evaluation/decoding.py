"""Objects from a detector's outputs, by ``edgewright_inference``, which devices have, too.

Called by ``detection_evaluator`` and by the figures after each epoch. An output is (N, positions, 4 + classes): x, y,
width and height as shares of the picture, then a score from 0 to 1 for each class.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.objects import FoundObjects, TrueObjects
from edgewright_inference import decoders as inference
from edgewright_inference.errors import DecodeError
from edgewright_inference.nms import Suppression, suppress
from edgewright_schemas.model import Nms

LOWEST = 0.01
"""Score from which detections are measured: precision over recall needs those that devices do not report, too."""
DECODER = "small-detector"
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
    pictures = [_decode_one(each, frame, nms) for each in outputs]
    most = max((len(each) for each in pictures if each is not None), default=0) or 1
    table = np.zeros((len(pictures), most, 6), dtype=np.float32)
    table[:, :, 0] = _NONE
    for place, found in zip(table, pictures, strict=True):
        if found is None:
            place[:] = np.nan
        else:
            place[: len(found)] = found
    return table


def _decode_one(output: Table, frame: tuple[int, int], nms: Nms) -> npt.NDArray[np.float64] | None:
    """Decode one picture's output, down to lower scores than devices report."""
    if not np.isfinite(output).all():
        return None
    try:
        found = inference.decode(
            {"boxes": output[None]}, inference.Decoding(DECODER, output.shape[1] - 4), (frame[1], frame[0])
        )
    except DecodeError as error:
        raise StepFailed(f"a detector's output cannot be read: {error}", hint="scores are from 0 to 1") from error
    assert isinstance(found, inference.Candidates)
    how = Suppression(nms.iou, min(LOWEST, nms.score), nms.max_detections)
    kept = suppress(found.boxes, found.scores, found.classes, how)
    corners = found.boxes[kept].astype(np.float64)
    return np.column_stack([found.classes[kept], corners[:, :2], corners[:, 2:] - corners[:, :2], found.scores[kept]])


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
