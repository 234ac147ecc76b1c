"""Figures over resampled test rows, which gates with a confidence ask for. Called by ``evaluation.step``.

The draws depend on the rows alone: the same test split resamples alike for every model and variant, so that the
difference of two is paired.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
_DIGITS = 9
_CELLS = 4_000_000
"""Weights held at a time, a bound on memory."""

Weigh = Callable[[npt.NDArray[np.float64], Sequence[str]], Mapping[str, npt.NDArray[np.float64]]]
"""Computes metrics for weightings (B, N): how often each row counts."""


def resample(rows: int, seed: str, metrics: Sequence[str], weigh: Weigh) -> dict[str, list[float | None]]:
    """Compute metrics over resamples of some rows, each as many as they are, drawn with replacement.

    Args:
        rows: How many there are.
        seed: What names them; the same draws the same.
        metrics: Their names.
        weigh: Computes them.

    Returns:
        For each metric one figure for each resample; None where it is undefined.
    """
    found: dict[str, list[float | None]] = {name: [] for name in metrics}
    for weights in _draws(rows, seed):
        for name, values in weigh(weights, metrics).items():
            found[name] += [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in values]
    return found


def _draws(rows: int, seed: str) -> Iterator[npt.NDArray[np.float64]]:
    random = np.random.Generator(np.random.PCG64(int.from_bytes(sha256(seed.encode()).digest())))
    at_once = max(1, _CELLS // max(rows, 1))
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        weights = np.zeros((count, rows))
        for each in range(count):
            weights[each] = np.bincount(random.integers(0, rows, rows), minlength=rows)
        yield weights
