"""Tolerance of golden samples: how far a device's outputs may be from what is expected. Called by ``packaging.step``.

It must tell the model from what knows nothing of its input: one under which a constant, or the outputs of other
samples, would pass proves nothing and is refused.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import StepFailed
from edgewright_schemas.model import LARGEST_DEFAULT_ATOL, Golden

SHARE = 0.1
"""Share of the spread that is allowed by default."""
_EXCHANGES = 64


def golden_tolerance(golden: Golden, expected: npt.NDArray[Any]) -> float:
    """Choose the tolerance, in the output's unit.

    Args:
        golden: The spec's section.
        expected: (N, …) what the model computes for the samples.

    Raises:
        StepFailed: A constant or the outputs of other samples would pass.
    """
    table = expected.reshape(len(expected), -1).astype(np.float64)
    spread = float(np.ptp(table, axis=0).max(initial=0.0))
    atol = golden.atol or _rounded(min(LARGEST_DEFAULT_ATOL, SHARE * spread))
    hint = _hint(golden, spread)
    if len(table) < 2:
        raise StepFailed(
            "one golden sample cannot tell the model from a constant",
            hint="set package.golden.samples to 2 or more, and give the test split as many rows",
        )
    if 2 * atol >= spread:
        raise StepFailed(
            f"golden samples prove nothing: their outputs differ by no more than {spread:.6g}, and devices may be off "
            f"by {atol:g}, so a constant would pass",
            hint=hint,
        )
    if _exchange_passes(table, atol):
        raise StepFailed(
            f"golden samples prove nothing: devices may be off by {atol:g}, so the outputs of other samples would pass",
            hint=hint,
        )
    return atol


def _hint(golden: Golden, spread: float) -> str:
    if spread == 0.0:
        return "the model gives the same output for every golden sample: look at what it learned"
    if golden.atol:
        return (
            f"lower package.golden.atol below {SHARE * spread:.3g}, or leave it out: then it is a tenth of their spread"
        )
    return "look at what the model learned, or raise package.golden.samples"


def _rounded(value: float) -> float:
    """Keep three digits: a tolerance is no measurement."""
    return float(f"{value:.3g}")


def _exchange_passes(table: npt.NDArray[np.float64], atol: float) -> bool:
    """Return whether outputs may go round all samples, in one of many random orders, within the tolerance."""
    rng = np.random.default_rng(0)
    for _ in range(_EXCHANGES):
        shuffled = table[rng.permutation(len(table))]
        if (np.abs(np.roll(shuffled, 1, axis=0) - shuffled) <= atol).all():
            return True
    return False
