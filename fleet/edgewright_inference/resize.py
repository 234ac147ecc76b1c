"""Bilinear resizing of eight-bit pictures in numpy, bit for bit what Pillow computes of rows and then of columns.

Datasets are resized with Pillow when they are built; a device need not have it. Each axis in turn is filtered by a
triangle as wide as the reduction, in whole numbers: weights of 22 bits, sums rounded to eight bits after each axis.
Rows come first, always: Pillow 13.0 begins with columns where the height shrinks much more than the width, and then
differs by one grey level here and there from 12 and from this. Two calls, first to the new width, then to the new
height, give the same in every version.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(height, width) or (height, width, channels)."""

_BITS = 32 - 8 - 2


def resize(picture: Picture, height: int, width: int) -> Picture:
    """Resize a picture.

    Args:
        picture: Shape (height, width) or (height, width, channels), eight bits.
        height: Of the result.
        width: Of the result.
    """
    if width != picture.shape[1]:
        picture = _filtered(picture, 1, width)
    if height != picture.shape[0]:
        picture = _filtered(picture, 0, height)
    return picture


def _filtered(picture: Picture, axis: int, size: int) -> Picture:
    """Filter one axis. The sum of a pixel's weights is 2²² and a few, so that sums fit 32 bits."""
    places, weights = _taps(picture.shape[axis], size)
    shape = [1] * picture.ndim
    shape[axis] = size
    total = np.full((), 1 << (_BITS - 1), np.int32)
    for place, weight in zip(places, weights, strict=True):
        total = total + np.take(picture, place, axis=axis).astype(np.int32) * weight.reshape(shape)
    found: Picture = np.clip(total >> _BITS, 0, 255).astype(np.uint8)
    return found


@lru_cache(maxsize=64)
def _taps(source: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Return, for each tap, the place it takes for every pixel of the result, and its weight; unused ones weigh 0."""
    scale = source / size
    support = max(scale, 1.0)
    taps = math.ceil(support) * 2 + 1
    places, weights = np.zeros((taps, size), np.intp), np.zeros((taps, size), np.int32)
    for at in range(size):
        centre = (at + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        count = min(int(centre + support + 0.5), source) - first
        found = [max(1.0 - abs((each + first - centre + 0.5) / support), 0.0) for each in range(count)]
        whole = 0.0
        for value in found:
            whole += value
        for each, value in enumerate(found):
            places[each, at] = first + each
            weights[each, at] = int(0.5 + value / whole * (1 << _BITS))
    return places, weights
