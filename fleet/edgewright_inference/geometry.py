"""Geometry of a picture that is brought to a model's size, and of boxes on their way there and back."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgewright_inference.errors import FrameError

Policy = Literal["stretch", "letterbox", "crop"]
Boxes = NDArray[np.float32]
"""(N, 4): left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Place of a picture in a model's input: it is resized, then put at (left, top), negative where it is cut."""

    frame: tuple[int, int]
    """Height and width of the picture."""
    resized: tuple[int, int]
    """Height and width it is resized to."""
    size: tuple[int, int]
    """Height and width of the input."""
    left: int = 0
    top: int = 0

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input for each pixel of the picture: vertically, horizontally."""
        return self.resized[0] / self.frame[0], self.resized[1] / self.frame[1]

    def to_input(self, boxes: Boxes) -> Boxes:
        """Move boxes from the picture into the input; nothing is clipped."""
        vertical, horizontal = self.scale
        factor = np.array([horizontal, vertical] * 2)
        shift = np.array([self.left, self.top] * 2)
        moved: Boxes = (np.asarray(boxes, np.float64).reshape(-1, 4) * factor + shift).astype(np.float32)
        return moved

    def to_frame(self, boxes: Boxes) -> Boxes:
        """Move boxes from the input back into the picture, and clip them to it."""
        vertical, horizontal = self.scale
        factor = np.array([horizontal, vertical] * 2)
        shift = np.array([self.left, self.top] * 2)
        moved = (np.asarray(boxes, np.float64).reshape(-1, 4) - shift) / factor
        height, width = self.frame
        clipped: Boxes = np.clip(moved, 0.0, np.array([width, height] * 2)).astype(np.float32)
        return clipped


def place(frame: tuple[int, int], size: tuple[int, int], policy: Policy, shorter_side: int | None = None) -> Placement:
    """Return where a picture goes in an input.

    Args:
        frame: Height and width of the picture.
        size: Height and width of the input.
        policy: ``stretch`` fills the input whatever the shape; ``letterbox`` keeps the shape and leaves borders, in
            halves, the odd pixel at the right and the bottom; ``crop`` keeps the shape, covers the input and cuts what
            sticks out, in halves.
        shorter_side: Of ``crop``: resize the picture so that its shorter side has so many pixels, as many classifiers
            are trained (256 for an input of 224).

    Raises:
        FrameError: A picture without a pixel, or one that does not cover the input.
    """
    if min(*frame, *size) < 1:
        raise FrameError(f"a picture of {frame[1]} × {frame[0]} pixels cannot be brought to {size[1]} × {size[0]}")
    if policy == "stretch":
        return Placement(frame, size, size)
    ratios = size[0] / frame[0], size[1] / frame[1]
    covering = max(ratios) if shorter_side is None else shorter_side / min(frame)
    scale = min(ratios) if policy == "letterbox" else covering
    resized = _scaled(frame[0], scale), _scaled(frame[1], scale)
    if policy == "letterbox":
        resized = min(resized[0], size[0]), min(resized[1], size[1])
    elif shorter_side is None:
        resized = max(resized[0], size[0]), max(resized[1], size[1])
    elif resized[0] < size[0] or resized[1] < size[1]:
        raise FrameError(f"with a shorter side of {shorter_side} pixels a picture does not cover {size[1]} × {size[0]}")
    return Placement(frame, resized, size, (size[1] - resized[1]) // 2, (size[0] - resized[0]) // 2)


def _scaled(pixels: int, scale: float) -> int:
    """Scale a side; halves go up, so that every processor rounds alike."""
    return max(1, int(pixels * scale + 0.5))
