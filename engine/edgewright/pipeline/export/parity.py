"""Judgement of an int8 variant: how far its outputs are from the float model's, output by output. Called by ``step``.

Each output is measured by its own deviation: a tensor whose values have one scale may keep its large outputs and lose
its small ones, and a figure over all of them would not tell.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

ROWS = 512
"""Validation rows compared, spread over the split."""
_RARE = 0.05
"""Scores of classes share a unit: one that hardly varies is measured by this share of the largest deviation."""
_OF_DIFFERENT_SIZE = 20
_WITH_POSITIONS = 3


@dataclass(frozen=True, slots=True)
class Int8Error:
    """Error of an int8 variant."""

    share: float | None
    """Root mean square of the differences, as a share of the output's deviation; of the output where it is largest.
    None where an output is no finite number."""
    output: int
    """That output's position."""
    rows: int
    deviation: float
    """That output's deviation."""
    largest_deviation: float
    """Deviation of the output that varies most."""

    def within(self, bound: float) -> bool:
        """Return whether the variant may be packaged."""
        return self.share is not None and self.share <= bound

    def reason(self, bound: float) -> str:
        """Write why it may not be, and what helps."""
        rows = f"{self.rows} validation rows"
        if self.share is None:
            return f"int8 outputs are no finite numbers on {rows}: what follows the last layer needs floating point"
        text = (
            f"int8 outputs are off by {self.share:.3g} of what output {self.output} varies (root mean square over "
            f"{rows}); {bound:g} is allowed: "
        )
        if self.deviation * _OF_DIFFERENT_SIZE < self.largest_deviation:
            return text + (
                f"outputs that vary by {self.largest_deviation:.3g} and by {self.deviation:.3g} share one tensor, and "
                "so one scale of 256 steps; bring them to the same size in the model (boxes as shares of the picture)"
            )
        return text + "raise calibrationSamples, or package.quantization.parity if such an error is harmless"


def spread_rows(count: int) -> npt.NDArray[np.int64]:
    """Choose the rows to compare: all, or some at even steps."""
    return np.unique(np.linspace(0, count - 1, min(count, ROWS)).round().astype(np.int64))


def int8_error(expected: npt.NDArray[Any], found: npt.NDArray[Any], classes: int | None) -> Int8Error:
    """Compare int8 outputs with the float model's.

    Args:
        expected: (N, …) of the float model.
        found: (N, …) of the int8 variant.
        classes: How many outputs are scores of classes; None where they are not.
    """
    # Where an output is a number of positions, what counts is the meaning of a number, not where it is.
    positions = expected.ndim == _WITH_POSITIONS
    reference = expected.reshape(-1, expected.shape[-1] if positions else expected[:1].size).astype(np.float64)
    deviation = reference.std(axis=0)
    largest = float(deviation.max(initial=0.0))
    if expected.shape != found.shape or not np.isfinite(found).all() or not np.isfinite(expected).all():
        return Int8Error(None, 0, len(expected), 0.0, largest)
    differences = found.reshape(reference.shape).astype(np.float64) - reference
    error = np.sqrt(np.square(differences).mean(axis=0))
    scale = np.maximum(deviation, _RARE * largest) if reference.shape[1] == classes else deviation
    # What never varies has no deviation to compare with; its own size stands in.
    scale = np.where(scale > 0, scale, np.abs(reference).max(axis=0, initial=0.0))
    shares = np.divide(error, scale, out=np.where(error > 0, np.inf, 0.0), where=scale > 0)
    worst = int(shares.argmax())
    return Int8Error(float(shares[worst]), worst, len(expected), float(deviation[worst]), largest)
