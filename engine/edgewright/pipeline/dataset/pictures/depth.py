"""Greys deeper than eight bits: what they hold, and how they come into eight. Used by ``images``.

Pictures of 16 unsigned bits have a scale of their own, 0 to 65535, and keep their high byte; where that tells their
values no longer apart, as with a depth camera's millimetres, they are refused. Signed, 32-bit and float pictures have
no scale. A column's ``range`` says for all of them what becomes 0 and what 255.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import ImageFile, TiffImagePlugin

from edgewright.pipeline.dataset.problems import Problems
from edgewright_schemas.dataset import Range

Pixels = npt.NDArray[np.uint8]

_SIXTEEN = 65535
_FEW_LEVELS = 32
"""Grey levels of 256 below which a picture's content is doubted."""
_MOST = 0.99
"""Part of the pixels that is looked at; the rest are holes and glints."""


class Unscaled(ValueError):
    """A picture's numbers have no scale, or another one than the column declares."""


@dataclass(frozen=True, slots=True)
class Source:
    """Numbers that a file holds, before a library made eight bits of them."""

    kind: Literal["bytes", "grey", "colour"]
    """``grey``: one deep number for each pixel. ``colour``: several of 16 bits, whose low bytes Pillow drops."""
    scaled: bool = False
    """0 to 65535 are black and white."""
    unsigned: bool = False
    signed_bytes: bool = False
    largest: int = _SIXTEEN
    """What a file of its own scale means by white; Pillow has made 65535 of it."""
    grey_and_alpha: bool = False


def source_of(image: ImageFile.ImageFile) -> Source:
    """Find out what a picture's file holds; to be asked before its pixels are loaded."""
    arguments = image.tile[0][3] if image.tile else ""
    raw = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    sample, bits = (_first(tags.get(tag), default) for tag, default in ((339, 1), (258, 8)))
    if image.mode.startswith("I;16"):
        return Source("grey", scaled=True)
    if image.mode == "I" and image.format == "PPM":
        largest = arguments[1] if isinstance(arguments, tuple) and len(arguments) > 1 else _SIXTEEN
        return Source("grey", scaled=True, largest=int(largest))
    if image.mode in ("I", "F"):
        return Source("grey", unsigned=image.mode == "I" and bool(tags) and sample == 1 and bits == 32)
    if image.mode == "L" and sample == 2:
        return Source("grey", signed_bytes=True)
    return Source("colour", grey_and_alpha=raw.startswith("LA;16")) if ";16" in raw else Source("bytes")


def _first(value: Any, default: int) -> int:
    found = value[0] if isinstance(value, tuple) and value else value
    return found if isinstance(found, int) else default


def values_of(pixels: npt.NDArray[Any], source: Source) -> npt.NDArray[Any]:
    """Return the numbers that the file means, (H, W), of what Pillow makes of them."""
    if source.signed_bytes:
        return np.ascontiguousarray(pixels).view(np.int8)
    return np.ascontiguousarray(pixels).view(np.uint32) if source.unsigned else pixels


class DeepGreys:
    """Scales deep greys to eight bits, and counts over all of them what was lost."""

    def __init__(self, scale: Range | None) -> None:
        self._scale = scale
        self._counts = np.zeros(_SIXTEEN + 1, np.int64)
        """Pixels of each value, of pictures with a scale of their own."""
        self._bytes = np.zeros(256, np.int64)
        """Of 16-bit colour: pixels by the high byte, all that is left of them."""
        self._low, self._high = np.inf, -np.inf
        """Of pictures that have no scale."""
        self._deep = 0
        """Pictures of deep greys."""
        self._eight_bit = 0
        """Pictures beside them that a range does not fit."""
        self._pixels = self._outside = self._no_number = 0
        """Of pictures brought into the range."""

    def scale(self, values: npt.NDArray[Any], source: Source) -> Pixels:
        """Scale numbers (H, W) to 0 to 255.

        Raises:
            Unscaled: They have no scale, and none is declared.
        """
        self._deep += 1
        if self._scale is not None:
            return self._stretch(values.astype(np.float64) * (source.largest / _SIXTEEN if source.scaled else 1.0))
        if source.scaled:
            self._counts += np.bincount(values.ravel().clip(0, _SIXTEEN), minlength=_SIXTEEN + 1)
            return (values.astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
        self._low, self._high = np.fmin(self._low, low), np.fmax(self._high, high)
        raise Unscaled(f"{values.dtype} from {low:g} to {high:g}, and no range says what is black and what white")

    def see_eight_bits(self) -> None:
        """Count a picture that a range does not fit: of eight bits, or in colour."""
        self._eight_bit += 1

    def see_high_bytes(self, pixels: Pixels) -> None:
        """Look at a picture of 16-bit colour, as eight bits show it."""
        self._bytes += np.bincount(pixels.ravel(), minlength=256)

    def _stretch(self, values: npt.NDArray[np.float64]) -> Pixels:
        assert self._scale is not None
        low, high = self._scale.min, self._scale.max
        known = np.isfinite(values)
        self._pixels += values.size
        self._no_number += int(values.size - known.sum())
        levels = np.rint((np.where(known, values, low) - low) / (high - low) * 255)
        self._outside += int(((levels < 0) | (levels > 255)).sum())
        return levels.clip(0, 255).astype(np.uint8)

    def report(self, problems: Problems, column: str) -> None:
        """Add what eight bits do not tell apart."""
        if self._low <= self._high:
            problems.add("deep greys have no scale", hint=self._hint(column, self._low, self._high))
        levels = _central(self._counts)
        high = _central(np.add.reduceat(self._counts, np.arange(0, _SIXTEEN + 1, 256)))
        if self._counts.any() and high < _FEW_LEVELS and levels >= 2 * high:
            low, top = _bounds(self._counts)
            problems.add(
                f"16-bit greys keep {high} of {levels} levels in the eight bits a model gets: "
                f"nearly all are from {low} to {top}, and white is 65535",
                hint=self._hint(column, low, top),
            )
        colours = _central(self._bytes)
        if self._bytes.any() and colours < _FEW_LEVELS:
            problems.add(
                f"16-bit colours keep {colours} levels in the eight bits a model gets",
                hint="save them with eight bits, stretched, or as 16-bit grey with a range in the spec",
            )

    def _hint(self, column: str, low: float, high: float) -> str:
        """Say what helps: a range, unless other pictures are there that it does not fit."""
        if not self._eight_bit:
            return _declare(column, low, high)
        return (
            f"{_pictures(self._deep)} of deep greys beside {_pictures(self._eight_bit)} of eight bits or in colour, "
            f"and a range is for all of a column: save the deep ones with eight bits, {low:g} as black and "
            f"{high:g} as white"
        )

    def notices(self) -> list[str]:
        """Return sentences for people."""
        said = []
        for count, what in (
            (self._outside, "outside the range and cut off"),
            (self._no_number, "no number and black"),
        ):
            if count:
                said.append(f"{count / self._pixels:.2%} of the deep greys' pixels are {what}")
        return said


def _central(counts: npt.NDArray[np.int64]) -> int:
    """Count the levels that hold nearly all pixels but those of the commonest, which is the background."""
    found = np.sort(counts[counts > 0])[::-1]
    if len(found) < 2:
        return len(found)
    rest = found[1:]
    return 1 + int(np.searchsorted(rest.cumsum(), _MOST * rest.sum()) + 1)


def _bounds(counts: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return between which values nearly all pixels are."""
    shares = counts.cumsum() / counts.sum()
    part = (1 - _MOST) / 2
    return int(np.searchsorted(shares, part)), int(np.searchsorted(shares, 1 - part))


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"


def _declare(column: str, low: float, high: float) -> str:
    bounds = f"{{min: {low:g}, max: {high:g}}}"
    return f"say what is black and what white, like columns: {{{column}: {{type: image, range: {bounds}}}}}"
