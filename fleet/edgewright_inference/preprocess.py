"""Preprocessing: a frame of eight bits becomes a model's input.

Every step is in whole numbers or a table of 256 values for each channel, so that engine and devices compute the same
bits on every processor.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright_inference.errors import FrameError, InterfaceError
from edgewright_inference.geometry import Placement, Policy, place
from edgewright_inference.resize import Picture, resize

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR", "L"]
ElementType = Literal["float32", "float16", "uint8", "int32", "int64"]
Array = NDArray[Any]

_COUNTS = {"RGB": 3, "BGR": 3, "L": 1}
_LUMA = np.array([19595, 38470, 7471], np.int32)
"""ITU-R BT.601 in sixteen bits, as Pillow converts colour to grey."""


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of frames for one input of a model.

    A value v of 0 to 255 becomes ``(low + v / 255 · (high - low) - mean) / std`` of its channel, rounded once to the
    input's type.

    Raises:
        InterfaceError: A mean or deviation for another number of channels; a deviation of 0; whole numbers that the
            declared range, mean and deviation do not give.
    """

    size: tuple[int, int]
    """Height and width of the input."""
    policy: Policy = "stretch"
    channels: Channels = "RGB"
    layout: Layout = "NCHW"
    dtype: ElementType = "float32"
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    pad: int = 114
    """Grey of a letterbox's borders, before values are scaled."""
    shorter_side: int | None = None
    """Of ``crop``: the picture is resized so that its shorter side has so many pixels."""

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) not in {1, _COUNTS[self.channels]}:
                raise InterfaceError(f"{name} has {len(values)} values for {_COUNTS[self.channels]} channels")
        if any(value == 0 for value in self.std):
            raise InterfaceError("a standard deviation is 0")
        if not 0 <= self.pad <= 255:
            raise InterfaceError(f"pad is {self.pad}, and a pixel is 0 to 255")
        _ = self._table

    def run(self, frame: Array) -> tuple[Array, Placement]:
        """Preprocess one frame.

        Args:
            frame: Shape (height, width, 3) in the order red, green, blue, or (height, width) or (height, width, 1) of
                grey; uint8.

        Returns:
            The input with a first axis of 1, and where the frame lies in it.

        Raises:
            FrameError: It is no such picture.
        """
        picture = self._ordered(_checked(frame))
        placement = place(picture.shape[:2], self.size, self.policy, self.shorter_side)
        placed = self._placed(resize(picture, *placement.resized), placement)
        values = np.stack([self._table[at].take(placed[..., at]) for at in range(placed.shape[2])], axis=-1)
        return np.ascontiguousarray(values.transpose(2, 0, 1) if self.layout == "NCHW" else values)[
            np.newaxis
        ], placement

    def _ordered(self, picture: Picture) -> Picture:
        """Convert to the model's channels; (height, width, channels)."""
        if self.channels == "L":
            if picture.shape[2] == 1:
                return picture
            grey = (picture.astype(np.int32) @ _LUMA + (1 << 15)) >> 16
            return grey.astype(np.uint8)[..., np.newaxis]
        colours = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
        return colours[..., ::-1] if self.channels == "BGR" else colours

    def _placed(self, picture: Picture, placement: Placement) -> Picture:
        """Put the resized picture into the input: borders around it, or its middle."""
        height, width = self.size
        if picture.shape[:2] == (height, width):
            return picture
        if self.policy == "crop":
            return picture[-placement.top :, -placement.left :][:height, :width]
        canvas = np.full((height, width, picture.shape[2]), self.pad, np.uint8)
        canvas[placement.top : placement.top + picture.shape[0], placement.left : placement.left + picture.shape[1]] = (
            picture
        )
        return canvas

    @cached_property
    def _table(self) -> Array:
        """Value of each of 256 greys, for each channel."""
        count = _COUNTS[self.channels]
        mean, std = self.mean or (0.0,), self.std or (1.0,)
        greys = self.low + np.arange(256) / 255.0 * (self.high - self.low)
        columns = [(greys - mean[at % len(mean)]) / std[at % len(std)] for at in range(count)]
        exact = np.stack(columns)
        if self.dtype in {"float32", "float16"}:
            return exact.astype(self.dtype)
        whole = np.rint(exact)
        bounds = np.iinfo(self.dtype)
        if np.abs(whole - exact).max() > 1e-6 or whole.min() < bounds.min or whole.max() > bounds.max:
            raise InterfaceError(
                f"an input of {self.dtype} takes whole numbers, and range {self.low:g} to {self.high:g} with its mean "
                "and deviation gives others: declare range 0 to 255"
            )
        return whole.astype(self.dtype)


def _checked(frame: Array) -> Picture:
    picture = np.asarray(frame)
    if picture.dtype != np.uint8:
        raise FrameError(f"a frame holds uint8 values, not {picture.dtype}")
    if picture.ndim == 2:
        picture = picture[..., np.newaxis]
    if picture.ndim != 3 or picture.shape[2] not in {1, 3} or 0 in picture.shape:
        raise FrameError(
            f"a frame has the shape (height, width, 3), (height, width, 1) or (height, width), not {frame.shape}"
        )
    return picture
