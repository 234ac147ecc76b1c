"""Object detection: where things are in a picture, of which class, and so how many there are."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgewright.core.facts import DatasetFacts
from edgewright.pipeline.tasks.labels import check_label
from edgewright.pipeline.tasks.protocol import Evaluator, Labels
from edgewright_schemas.model import ModelSpec, Nms
from edgewright_schemas.tasks import TASKS

if TYPE_CHECKING:
    import torch
    from torch import nn


class ObjectDetection:
    """Boxes with classes; a model gives (N, positions, 4 + classes) as ``evaluation.decoding`` says."""

    name = "object-detection"
    declaration = TASKS["object-detection"]
    output_hint = (
        "for each position x, y, width and height as shares of the picture, then a score from 0 to 1 for each category"
    )

    def __init__(self, frame: tuple[int, int] = (1, 1), nms: Nms | None = None) -> None:
        """Take the width and height of the pictures in pixels, and which detections are kept."""
        self.frame = frame
        self.nms = nms or Nms()

    def configured(self, spec: ModelSpec, facts: DatasetFacts) -> "ObjectDetection":
        """Return the task for pictures of a dataset, and what the spec says of detections."""
        shape = facts.input_shape
        return ObjectDetection((shape[-1], shape[-2]) if len(shape) > 1 else (1, 1), spec.nms)

    def classes(self, facts: DatasetFacts, dataset: str) -> tuple[str, ...]:
        """Return the label's values."""
        check_label(self.name, self.declaration, facts, dataset)
        return tuple(facts.label_values or ())

    def output_shape(self, outputs: int) -> tuple[int | None, ...]:
        """Return (positions, 4 + classes), of any number of positions."""
        return (None, 4 + outputs)

    def unusable(self, labels: Labels, outputs: int) -> npt.NDArray[np.bool_]:
        """Mark pictures without a label, and those with an object of no class, or without an area."""
        category, box = labels[:, :, 0], labels[:, :, 1:5]
        there = category >= 0
        wrong = (category >= outputs) | ~np.isfinite(box).all(axis=2) | ~(box[:, :, 2:] > 0).all(axis=2)
        return np.asarray((there & wrong).any(axis=1) | np.isnan(category).any(axis=1))

    def complete(self, body: "nn.Module") -> "nn.Module":
        """Return the module as it is."""
        return body

    def loss_scale(self, labels: "torch.Tensor") -> float:
        """Return 1: the loss is of each object."""
        return 1.0

    def loss(
        self, outputs: "torch.Tensor", labels: "torch.Tensor", scale: float, weights: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Compute the loss of a grid of positions."""
        from edgewright.pipeline.training.detector import detection_loss

        return detection_loss(outputs, labels, self.frame)

    def validation_figures(self, outputs: "torch.Tensor", labels: "torch.Tensor") -> dict[str, float]:
        """Compute ``map`` (none where no picture has an object) and ``countMae``."""
        from edgewright.pipeline.evaluation.decoding import decode, found_objects, true_objects
        from edgewright.pipeline.evaluation.detection_metrics import coco_figures, count_frames

        classes = outputs.shape[2] - 4
        true, found = true_objects(labels.numpy()), found_objects(decode(outputs.numpy(), self.frame, self.nms))
        coco = coco_figures(true, found, classes, most=self.nms.max_detections).overall
        counts = count_frames(true, found, classes, score=self.nms.score).figures()
        watched = {"map": coco["map"], "countMae": counts["countMae"]}
        return {name: value for name, value in watched.items() if value is not None}

    def evaluator(self, classes: int | None) -> Evaluator:
        """Return metrics by faster-coco-eval, and counts."""
        from edgewright.pipeline.evaluation.detection_evaluator import DetectionEvaluator

        assert classes is not None
        return DetectionEvaluator(classes, self.frame, self.nms)

    def golden_rows(self, labels: Labels, count: int) -> npt.NDArray[np.int64]:
        """Choose pictures at even steps of how many objects they have."""
        ranked = np.argsort((labels[:, :, 0] >= 0).sum(axis=1), kind="stable")
        steps = np.linspace(0, len(labels) - 1, min(count, len(labels))).round().astype(np.int64)
        return np.sort(ranked[steps])
