"""Figures of detections: COCO's by faster-coco-eval, and what shops count: objects, and alarms where there are none.

COCO's mean precision does not see detections of a class that has no object, and looks at the ``most`` highest scores of
a class in a picture alone; counts and false alarms see everything above the score from which devices report. A figure
that cannot be computed is None, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewright.pipeline.evaluation.objects import Floats, FoundObjects, TrueObjects, match
from edgewright.pipeline.tasks.protocol import Figures

AREAS: Mapping[str, tuple[float, float]] = {
    "Small": (0.0, 32.0**2),
    "Medium": (32.0**2, 96.0**2),
    "Large": (96.0**2, 1e5**2),
}
"""COCO's sizes of objects, in square pixels."""
_SAME = np.array([0.5])
_UNDEFINED = -1.0
COCO_METRICS = ("map", "ap50", "ap75", "mapSmall", "mapMedium", "mapLarge", "ar")
FRAME_METRICS = ("countMae", "countExact", "falseAlarmsPerFrame", "falseAlarmsPerEmptyFrame")


@dataclass(frozen=True, slots=True)
class CocoFigures:
    """COCO's figures over some pictures."""

    overall: Figures
    by_class: Mapping[int, Figures]
    """The same of each class; all None for one without objects."""


def coco_figures(
    true: Sequence[TrueObjects], found: Sequence[FoundObjects], classes: int, *, most: int = 100
) -> CocoFigures:
    """Compute COCO's precision and recall.

    Args:
        true: Objects by picture.
        found: Detections by picture.
        classes: How many there are.
        most: Detections looked at in each picture and class, the highest scores.
    """
    from faster_coco_eval import COCO
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    reference = COCO(_dataset(true, classes), use_deepcopy=False, print_function=_silent)
    results = COCO(_results(reference.dataset, found), use_deepcopy=False, print_function=_silent)
    evaluation = COCOeval_faster(reference, results, "bbox", print_function=_silent, separate_eval=True)
    evaluation.params.maxDets = [most]
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = (np.asarray(evaluation.eval[name]) for name in ("precision", "recall"))
    # Axes of precision: threshold, recall, class, area, most; of recall: threshold, class, area, most.
    levels = np.asarray(evaluation.params.iouThrs)
    every = _summary(precision[..., 0], recall[..., 0], levels)
    single = {
        each: _summary(precision[:, :, each : each + 1, :, 0], recall[:, each : each + 1, :, 0], levels)
        for each in range(classes)
    }
    return CocoFigures(every, single)


def _summary(precision: Floats, recall: Floats, levels: Floats) -> Figures:
    at50, at75 = (np.flatnonzero(np.isclose(levels, level)) for level in (0.5, 0.75))
    return {
        "map": _mean(precision[:, :, :, 0]),
        "ap50": _mean(precision[at50][:, :, :, 0]),
        "ap75": _mean(precision[at75][:, :, :, 0]),
        **{f"map{name}": _mean(precision[:, :, :, area]) for area, name in enumerate(AREAS, start=1)},
        "ar": _mean(recall[:, :, 0]),
    }


def _mean(values: Floats) -> float | None:
    defined = values[values > _UNDEFINED]
    return float(defined.mean()) if len(defined) else None


def _dataset(true: Sequence[TrueObjects], classes: int) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image, objects in enumerate(true):
        boxes, categories, crowd = objects.boxes.tolist(), objects.categories.tolist(), objects.crowd.tolist()
        for box, category, together in zip(boxes, categories, crowd, strict=True):
            annotations.append(_annotation(len(annotations) + 1, image, category, box, iscrowd=int(together)))
    return {
        "images": [{"id": image} for image in range(len(true))],
        "categories": [{"id": each, "name": str(each)} for each in range(classes)],
        "annotations": annotations,
    }


def _results(reference: Mapping[str, Any], found: Sequence[FoundObjects]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image, objects in enumerate(found):
        boxes, categories, scores = objects.boxes.tolist(), objects.categories.tolist(), objects.scores.tolist()
        for box, category, score in zip(boxes, categories, scores, strict=True):
            annotations.append(_annotation(len(annotations) + 1, image, category, box, score=score, iscrowd=0))
    return {"images": reference["images"], "categories": reference["categories"], "annotations": annotations}


def _annotation(number: int, image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": box[2] * box[3],
        **more,
    }


def _silent(*_: object) -> None:
    """Print nothing."""


# ── per frame ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Frames:
    """Counts of each picture, of detections from a score on. All (N,)."""

    miscounted: Floats
    """Summed over classes: the difference of found and true objects."""
    false_alarms: Floats
    """Detections that are no object of their class."""
    empty: Floats
    """1 where there is no object at all, otherwise 0."""

    def weigh(self, weights: Floats) -> dict[str, Floats]:
        """Compute the metrics for many weightings of the pictures (B, N): NaN where undefined, (B,)."""
        frames = weights.sum(axis=1)
        without = weights @ self.empty
        return {
            "countMae": _ratio(weights @ self.miscounted, frames),
            "countExact": _ratio(weights @ (self.miscounted == 0), frames),
            "falseAlarmsPerFrame": _ratio(weights @ self.false_alarms, frames),
            "falseAlarmsPerEmptyFrame": _ratio(weights @ (self.false_alarms * self.empty), without),
        }

    def figures(self) -> Figures:
        """Compute the metrics."""
        found = self.weigh(np.ones((1, len(self.empty))))
        return {name: None if np.isnan(values[0]) else float(values[0]) for name, values in found.items()}


def count_frames(true: Sequence[TrueObjects], found: Sequence[FoundObjects], classes: int, *, score: float) -> Frames:
    """Count objects and false alarms in each picture.

    A detection is an object that it overlaps by half (intersection over union) with the right class; one that lies by
    half in a crowd of its class counts neither way.

    Args:
        true: Objects by picture.
        found: Detections by picture.
        classes: How many there are.
        score: Detections below are left out, as devices do.
    """
    miscounted, alarms, empty = (np.zeros(len(true)) for _ in range(3))
    for frame, (objects, detections) in enumerate(zip(true, found, strict=True)):
        empty[frame] = len(objects.categories) == 0
        kept = detections.scores >= score
        reported = FoundObjects(detections.boxes[kept], detections.categories[kept], detections.scores[kept])
        for category in np.union1d(objects.categories, reported.categories):
            matched = match(objects, reported, int(category), _SAME)
            right, aside = matched.matches[0], matched.ignored[0]
            counted = int((~aside).sum())
            miscounted[frame] += abs(counted - matched.expected)
            alarms[frame] += counted - int(right.sum())
    return Frames(miscounted, alarms, empty)


def _ratio(part: Floats, whole: Floats) -> Floats:
    result: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return result
