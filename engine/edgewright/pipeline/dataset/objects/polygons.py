"""Outlines: whether they close, the box around them, and whether they are a turned rectangle. Pure."""

import math
from collections.abc import Sequence

Point = tuple[float, float]
_CORNERS = 4
_TOLERANCE = 0.02
"""Share of a rectangle's sides by which drawn corners may be off."""


def closed(numbers: Sequence[float]) -> bool:
    """Return whether x, y, x, y … are finite and are three different corners or more."""
    if len(numbers) % 2 or not all(map(math.isfinite, numbers)):
        return False
    return len(set(zip(numbers[::2], numbers[1::2], strict=True))) >= 3


def box_around(points: Sequence[Point]) -> tuple[float, float, float, float]:
    """Return x, y, width and height of the smallest box that holds all points."""
    left, top = min(x for x, _ in points), min(y for _, y in points)
    return left, top, max(x for x, _ in points) - left, max(y for _, y in points) - top


def turned_box(box: tuple[float, float, float, float], degrees: float) -> tuple[float, float, float, float]:
    """Return the box around a box turned about its middle."""
    x, y, width, height = box
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    wide, high = width * cos + height * sin, width * sin + height * cos
    return x + (width - wide) / 2, y + (height - high) / 2, wide, high


def is_turned_rectangle(points: Sequence[Point]) -> bool:
    """Return whether four corners, in pixels, are a rectangle whose sides are not those of the picture."""
    if len(points) != _CORNERS:
        return False
    sides = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(points, [*points[1:], points[0]], strict=True)]
    lengths = [math.hypot(*side) for side in sides]
    if min(lengths) == 0:
        return False
    square = all(
        abs(sides[at][0] * sides[at - 1][0] + sides[at][1] * sides[at - 1][1])
        <= _TOLERANCE * lengths[at] * lengths[at - 1]
        for at in range(_CORNERS)
    )
    upright = all(min(map(abs, side)) <= _TOLERANCE * length for side, length in zip(sides, lengths, strict=True))
    return square and not upright
