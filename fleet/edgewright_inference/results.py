"""Typed results of a frame."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Classification:
    """The class of a whole frame."""

    scores: NDArray[np.float32]
    """Share of certainty for each class, (classes,), 0 to 1."""
    names: tuple[str, ...] = ()

    @property
    def index(self) -> int:
        """Position of the likeliest class; of equals the first."""
        return int(np.argmax(self.scores))

    @property
    def label(self) -> str:
        """Name of the likeliest class, or its position where classes have no names."""
        return self.names[self.index] if self.names else str(self.index)

    @property
    def score(self) -> float:
        """Certainty of the likeliest class."""
        return float(self.scores[self.index])


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects found in a frame, the surest first."""

    boxes: NDArray[np.float32]
    """(N, 4): left, top, right, bottom, in pixels of the frame."""
    scores: NDArray[np.float32]
    """(N,), 0 to 1."""
    classes: NDArray[np.int64]
    """(N,), positions in the model's classes."""
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each object's class."""
        return tuple(self.names[at] if self.names else str(at) for at in self.classes.tolist())

    def counts(self) -> dict[str, int]:
        """Count objects by class; classes without an object are left out."""
        return dict(Counter(self.labels))


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers computed of a frame: a regression, an embedding, or outputs without a decoder."""

    values: NDArray[Any]


Result = Classification | Detections | Numbers
