"""Intervals of figures, by what they were over resampled test rows (the percentile bootstrap). Called by gates.

Evidence keeps the figures of each resample: ``resampled`` {"rows": digest of what was drawn, "figures": {slice:
{metric: [one for each resample]}}}, with the empty name for all rows. Candidate and champion are resampled alike, so
that differences are paired.
"""

import math
from collections.abc import Mapping, Sequence

from edgewright.core.facts import Evidence

_SHARES = frozenset({"accuracy", "f1Macro", "precisionMacro", "recallMacro", "top3Accuracy", "top5Accuracy"})
"""Figures that are 1 exactly where every row is right, and then the same on every resample."""

Interval = tuple[float, float]


def figure_interval(evidence: Evidence, key: str, metric: str, confidence: float) -> Interval | None:
    """Return the two ends of a metric's interval, between which this share of the resamples lies.

    Where all rows are right no resample differs; the lower end is then that of the exact interval of a share
    (Clopper-Pearson), so that three right rows of three prove little.

    Args:
        evidence: Of a variant.
        key: The slice, ``column=value``; empty for all rows.
        metric: Its name.
        confidence: The share, as much left out below as above.

    Returns:
        The ends; None where the evidence has no figure, or one is undefined for a resample.
    """
    found = _replicates(evidence, key, metric)
    if found is None:
        return None
    low, high = _ends(found, confidence)
    rows = _rows(evidence, key)
    if metric in _SHARES and low == high == 1.0:
        return None if rows is None else (((1 - confidence) / 2) ** (1 / rows), 1.0)
    return low, high


def difference_interval(ours: Evidence, theirs: Evidence, key: str, metric: str, confidence: float) -> Interval | None:
    """Return the two ends of the interval of our figure less theirs, paired by resample.

    Returns:
        The ends; None where one of them has no figures, or they are not of the same rows.
    """
    first, second = _replicates(ours, key, metric), _replicates(theirs, key, metric)
    if first is None or second is None or len(first) != len(second) or not _drawn_alike(ours, theirs):
        return None
    return _ends([a - b for a, b in zip(first, second, strict=True)], confidence)


def _replicates(evidence: Evidence, key: str, metric: str) -> list[float] | None:
    resampled = evidence.get("resampled")
    by_slice = resampled.get("figures") if isinstance(resampled, Mapping) else None
    figures = by_slice.get(key) if isinstance(by_slice, Mapping) else None
    found = figures.get(metric) if isinstance(figures, Mapping) else None
    if not isinstance(found, Sequence) or isinstance(found, str) or not found:
        return None
    values = [value for value in found if isinstance(value, int | float) and math.isfinite(value)]
    return values if len(values) == len(found) else None


def _drawn_alike(ours: Evidence, theirs: Evidence) -> bool:
    first, second = ours.get("resampled"), theirs.get("resampled")
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return False
    return first.get("rows") is not None and first.get("rows") == second.get("rows")


def _rows(evidence: Evidence, key: str) -> int | None:
    slices = evidence.get("slices")
    figures = slices.get(key) if isinstance(slices, Mapping) else None
    found = (figures if isinstance(figures, Mapping) else {}).get("rows") if key else evidence.get("rows")
    return found if isinstance(found, int) and found > 0 else None


def _ends(values: Sequence[float], confidence: float) -> Interval:
    ordered = sorted(values)
    # Counted in whole resamples: 0.05 / 2 of 1000 must be 25 whatever binary fractions say.
    outside = int(round(len(ordered) * (1 - confidence) / 2, 6))
    return ordered[outside], ordered[-1 - outside]
