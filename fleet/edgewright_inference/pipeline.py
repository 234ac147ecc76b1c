"""The whole way from a frame to a typed result: preprocess, run, decode, suppress, move back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright_inference.decoders import Candidates, Decoding, decode
from edgewright_inference.geometry import Placement
from edgewright_inference.nms import Suppression, suppress
from edgewright_inference.preprocess import Preprocessing
from edgewright_inference.results import Classification, Detections, Numbers, Result

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Computes a model's outputs by name from its inputs by name."""


@dataclass(frozen=True)
class Interface:
    """Interface of a model that takes one picture: how a frame comes in, and what its outputs mean."""

    input: str
    """Name of the input."""
    preprocessing: Preprocessing
    decoding: Decoding | None = None
    """None: outputs are numbers."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Name of the output for each role of the decoder; without a decoder, one output under any role."""
    names: Sequence[str] = ()
    """Names of the classes."""
    suppression: Suppression = field(default_factory=Suppression)

    def predict(self, frame: Array, run: Run) -> Result:
        """Return the result of one frame.

        Args:
            frame: As Preprocessing.run takes it.
            run: The model.

        Raises:
            FrameError: The frame is no picture.
            DecodeError: The outputs are not what was declared.
        """
        values, placement = self.preprocessing.run(frame)
        return self.result(run({self.input: values}), placement)

    def result(self, outputs: Mapping[str, Array], placement: Placement) -> Result:
        """Return the result of one frame's outputs.

        Raises:
            DecodeError: As predict.
        """
        names = tuple(self.names)
        if self.decoding is None:
            return Numbers(np.asarray(next(iter(outputs.values())))[0])
        found = decode({role: outputs[name] for role, name in self.outputs.items()}, self.decoding, placement.size)
        if not isinstance(found, Candidates):
            return Classification(found, names)
        how = self.suppression
        if found.final:  # the model has suppressed overlaps: only the score and the number bind
            how = Suppression(1.0, how.score, how.max_detections)
        kept = suppress(found.boxes, found.scores, found.classes, how)
        return Detections(placement.to_frame(found.boxes[kept]), found.scores[kept], found.classes[kept], names)
