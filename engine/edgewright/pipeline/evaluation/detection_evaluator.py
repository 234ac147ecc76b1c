"""Figures of a detector's outputs, over rows and slices. Made by the task ``object-detection``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.decoding import decode, found_objects, true_objects
from edgewright.pipeline.evaluation.detection_metrics import (
    COCO_METRICS,
    FRAME_METRICS,
    coco_figures,
    count_frames,
)
from edgewright.pipeline.evaluation.objects import FoundObjects, TrueObjects
from edgewright.pipeline.export.onnx_runtime import FP32, shape_text
from edgewright.pipeline.tasks.protocol import Figures
from edgewright_schemas.model import Nms

_NDIM = 3
_OUTSIDE = 0.01
"""How far a score may be below 0 or above 1."""


@dataclass(frozen=True, slots=True)
class DetectionEvaluator:
    """Compares detections with the true objects."""

    classes: int
    frame: tuple[int, int]
    """Width and height of the pictures, in pixels."""
    nms: Nms

    def predictions(self, output: npt.NDArray[Any], variant: str) -> torch.Tensor:
        """Check that an output is (N, positions, 4 + classes), and decode it to (N, most of a picture, 6).

        Raises:
            StepFailed: It is not, or scores of the float model are no probabilities.
        """
        if output.ndim != _NDIM or output.shape[2] != 4 + self.classes:
            raise StepFailed(
                f"the {variant} model gives an output of shape {shape_text(output.shape)}; expected is "
                f"{shape_text((len(output), None, 4 + self.classes))}: for each position x, y, width and height as "
                f"shares of the picture, and a score for each of {self.classes} classes",
                hint="give the model such an output",
            )
        if variant == FP32:
            _check_scores(output[:, :, 4:], variant)
        return torch.from_numpy(decode(output, self.frame, self.nms))

    def settled(self, model: Path, predictions: torch.Tensor) -> "DetectionEvaluator":
        """Return itself: outputs mean one thing."""
        return self

    @property
    def notes(self) -> Mapping[str, Any]:
        """Detections that were kept."""
        return {"nms": self.nms.model_dump(mode="json", by_alias=True)}

    def figures(self, predictions: torch.Tensor, labels: torch.Tensor) -> Figures:
        """Compute the metrics over some pictures."""
        if not _usable(predictions, labels):
            return dict.fromkeys((*COCO_METRICS, *FRAME_METRICS))
        true, found = _objects(predictions, labels)
        coco = coco_figures(true, found, self.classes, most=self.nms.max_detections)
        return {**coco.overall, **self._counted(true, found)}

    def weigh(
        self,
        predictions: torch.Tensor,
        labels: torch.Tensor,
        weights: npt.NDArray[np.float64],
        metrics: Sequence[str],
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Compute the counts over many weightings of the pictures; COCO's figures only over all of them once."""
        undefined = {name: np.full(len(weights), np.nan) for name in metrics}
        if not _usable(predictions, labels):
            return undefined
        frames = count_frames(*_objects(predictions, labels), self.classes, score=self.nms.score)
        return undefined | {name: values for name, values in frames.weigh(weights).items() if name in undefined}

    def details(self, predictions: torch.Tensor, labels: torch.Tensor) -> Mapping[str, Any]:
        """Compute ``perClass``: COCO's figures of each class, in order."""
        if not _usable(predictions, labels):
            return {}
        true, found = _objects(predictions, labels)
        coco = coco_figures(true, found, self.classes, most=self.nms.max_detections)
        return {"perClass": [dict(coco.by_class[each]) for each in range(self.classes)]}

    def headline(self, predictions: torch.Tensor, labels: torch.Tensor) -> str:
        """Write COCO's mean precision for a message."""
        value = self.figures(predictions, labels)["map"]
        return f"map {'cannot be computed' if value is None else format(value, '.4g')}"

    def confusion(self, predictions: torch.Tensor, labels: torch.Tensor) -> None:
        """Return None: a picture has no one class."""

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> Figures:
        """Compare two variants: the share of what either reports that the other reports too, and of pictures alike."""
        if not len(ours) or not bool(torch.isfinite(ours).all() & torch.isfinite(theirs).all()):
            return {"sameObjects": None, "sameCounts": None}
        first, second = found_objects(ours.numpy()), found_objects(theirs.numpy())
        # What theirs reports stands for the truth.
        reported = [_as_truth(each, self.nms.score) for each in second]
        frames = count_frames(reported, first, self.classes, score=self.nms.score)
        wanted = sum(len(each.categories) for each in reported)
        given = sum(int((each.scores >= self.nms.score).sum()) for each in first)
        matched = given - float(frames.false_alarms.sum())
        either = wanted + given - matched
        return {"sameObjects": matched / either if either else 1.0, "sameCounts": frames.figures()["countExact"]}

    def _counted(self, true: Sequence[TrueObjects], found: Sequence[FoundObjects]) -> Figures:
        return count_frames(true, found, self.classes, score=self.nms.score).figures()


def _usable(predictions: torch.Tensor, labels: torch.Tensor) -> bool:
    return bool(len(labels)) and bool(torch.isfinite(predictions).all())


def _objects(predictions: torch.Tensor, labels: torch.Tensor) -> tuple[list[TrueObjects], list[FoundObjects]]:
    return true_objects(labels.numpy()), found_objects(predictions.numpy())


def _as_truth(found: FoundObjects, score: float) -> TrueObjects:
    kept = found.scores >= score
    return TrueObjects(found.boxes[kept], found.categories[kept], np.zeros(int(kept.sum()), dtype=bool))


def _check_scores(scores: npt.NDArray[Any], variant: str) -> None:
    finite = scores[np.isfinite(scores)]
    low, high = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
    if low < -_OUTSIDE or high > 1 + _OUTSIDE:
        low, high = float(finite.min()), float(finite.max())
        raise StepFailed(
            f"scores of the {variant} model go from {low:.4g} to {high:.4g}, and probabilities from 0 to 1",
            hint="where they are logits, a model that is imported declares activation: sigmoid in its interface; a "
            "module ends in a sigmoid",
        )
