"""Moves objects with their picture: scaled, shifted, cut at its edges. Called by the steps of ``transforms``."""

from collections import Counter
from collections.abc import Iterable, Iterator

from edgewright.pipeline.dataset.objects.values import NUMBERS, Object
from edgewright_inference.geometry import Placement

_WHOLE = 1 - 1e-6
"""Share from which on an object is not cut: what floating-point numbers may lose."""


def moved(objects: Iterable[Object], place: Placement, least: float, cut: Counter[str], step: str) -> list[Object]:
    """Move objects to where their picture goes; count those that are left out.

    Args:
        objects: In the picture as it was.
        place: Where it goes.
        least: Share of its area that an object keeps at least; a crowd region keeps any.
        cut: Takes the counts, by reason.
        step: The step's name.
    """
    found = []
    for each in objects:
        made, share = moved_object(each, place)
        if made is not None and (share >= least or each["crowd"]):
            found.append(made)
        elif made is None:
            cut[f"outside of what {step} keeps"] += 1
        else:
            cut[f"cut by {step} to less than {least:.0%}"] += 1
    return found


def moved_object(found: Object, place: Placement) -> tuple[Object | None, float]:
    """Return an object where its picture goes, None where nothing is left of it, and the share that is."""
    vertical, horizontal = place.scale
    x, y, width, height = (found[name] for name in NUMBERS)
    left, top = x * horizontal + place.left, y * vertical + place.top
    wide, high = width * horizontal, height * vertical
    right, bottom = min(left + wide, place.size[1]), min(top + high, place.size[0])
    within = max(right - max(left, 0.0), 0.0) * max(bottom - max(top, 0.0), 0.0)
    share = within / (wide * high)
    if share <= 0:
        return None, 0.0
    if share < _WHOLE:
        left, top = max(left, 0.0), max(top, 0.0)
        wide, high = right - left, bottom - top
    return {**found, "x": left, "y": top, "width": wide, "height": high}, share


def tiles(size: int, tile: int, overlap: float) -> Iterator[int]:
    """Yield where tiles begin along one side; the last one ends with the picture.

    Args:
        size: Pixels of the side.
        tile: Pixels of a tile.
        overlap: Share of a tile that the next one shows too, at least.
    """
    stride = max(1, int(tile * (1 - overlap)))
    last = max(size - tile, 0)
    at = 0
    while at < last:
        yield at
        at += stride
    yield last
