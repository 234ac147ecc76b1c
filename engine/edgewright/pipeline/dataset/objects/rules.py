"""Rules for boxes that do not fit their picture, and the count of what they change. Used by ``reading`` and rows of
other formats.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from edgewright.pipeline.dataset.objects.values import NUMBERS, Object
from edgewright.pipeline.dataset.problems import Problems

_NOISE = 1e-6
"""Pixels that sums of floating-point numbers may be off."""
_ROUNDING = 1 - _NOISE
"""Boxes that stick out by less are cut off: rounding of whoever wrote them."""


@dataclass(slots=True)
class BoxRules:
    """Rules of one source; counts accumulate."""

    problems: Problems
    clip: bool = False
    """Cut boxes off at the edge, however far they stick out."""
    drop_empty: bool = False
    """Leave boxes without area out."""
    has_options: bool = False
    """The source's format takes options for these rules."""
    rounded: int = 0
    """Boxes that stuck out by less than a pixel."""
    clipped: int = 0
    """Boxes cut off that stuck out by more."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Objects that the dataset has not, by reason."""

    def settle(self, found: Object, size: tuple[int, int], where: str) -> Object | None:
        """Return an object within its picture; None where it is left out or wrong.

        Args:
            found: The object.
            size: Width and height of the picture.
            where: The object's place, for messages.
        """
        x, y, width, height = (found[name] for name in NUMBERS)
        shown = f"{where} (x {x:g}, y {y:g}, {width:g}x{height:g} in a picture of {size[0]}x{size[1]})"
        if not all(map(math.isfinite, (x, y, width, height))):
            self.problems.add("boxes have numbers that are not finite", shown)
            return None
        if width <= 0 or height <= 0:
            self._refuse_empty(shown)
            return None
        left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + width, size[0]), min(y + height, size[1])
        out = max(-x, -y, x + width - size[0], y + height - size[1])
        if out <= _NOISE:
            return found
        if out >= _ROUNDING and not self.clip:
            hint = "; source.with {outside: clip} cuts them off" if self.has_options else ""
            self.problems.add(
                "boxes stick out of their pictures", shown, hint=f"correct boxes outside of their pictures{hint}"
            )
            return None
        if left >= right or top >= bottom:
            self.left_out["outside of the picture"] += 1
            return None
        if out < _ROUNDING:
            self.rounded += 1
        else:
            self.clipped += 1
        return {**found, "x": left, "y": top, "width": right - left, "height": bottom - top}

    def _refuse_empty(self, shown: str) -> None:
        if self.drop_empty:
            self.left_out["without area"] += 1
            return
        hint = "; source.with {withoutArea: leave-out} leaves them out" if self.has_options else ""
        self.problems.add("boxes have no area", shown, hint=f"correct boxes without area{hint}")

    def notices(self) -> list[str]:
        """Return sentences for people."""
        said = []
        if self.rounded:
            said.append(f"{_boxes(self.rounded)} less than a pixel out of the picture and cut off")
        if self.clipped:
            said.append(f"{_boxes(self.clipped)} out of the picture and cut off, as source.with.outside says")
        return said


def _boxes(count: int) -> str:
    return f"{count:,} box sticks" if count == 1 else f"{count:,} boxes stick"
