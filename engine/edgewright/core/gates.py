"""Gates: thresholds applied to evidence. Called by the planner (engine's figures) and rollouts (devices' figures).

A gate passes, fails or is inconclusive. Without evidence, or with a figure that is no finite number, it is
inconclusive, and inconclusive does not pass.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgewright.core.facts import DatasetFacts, Evidence
from edgewright.core.intervals import difference_interval, figure_interval
from edgewright.core.suggestions import suggestion
from edgewright_schemas.tasks import LOWER_IS_BETTER, OVER_CLASSES
from edgewright_schemas.thresholds import Gate

_SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3))
_ADVICE = "; add rows, or let the dataset's split have stratify or column"
_SHOWN = 3
_NOT_RESAMPLED = "the evidence has no such figure for every resample of the test rows; there may be too few rows"
_EPSILON = 1e-9
"""Rounding error that a difference of two figures may have, as a share of them: 0.95 - 0.01 is not quite 0.94."""


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """One gate, judged. ``passed`` is None when the evidence is inconclusive, which does not pass."""

    gate: str
    """The gate in words: ``accuracy ≥ 0.95 (lighting=dim)``."""
    passed: bool | None
    value: float | None
    limit: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Variant to package, with the outcomes of each one tried."""

    variant: str | None
    """None: no variant passes."""
    outcomes: Mapping[str, tuple[GateOutcome, ...]]
    """By variant, in the order tried; variants after the chosen one are not tried."""

    @property
    def verdict(self) -> tuple[GateOutcome, ...]:
        """The outcomes of the variant chosen, or of the one tried last."""
        return next(reversed(list(self.outcomes.values())), ())


def lower_is_better(metric: str) -> bool:
    """Return whether a lower value of a metric is better."""
    return metric in LOWER_IS_BETTER


def passes(outcomes: Iterable[GateOutcome]) -> bool:
    """Return whether every gate passed; an inconclusive one did not."""
    return all(outcome.passed is True for outcome in outcomes)


# ── in words ──────────────────────────────────────────────────────────────────────────────────────────────────


def describe(gate: Gate) -> str:
    """Write a gate in words: ``accuracy ≥ 0.95``, ``sizeBytes ≤ 400 KiB``, ``latencyP95Ms ≤ 40 on lane-camera``."""
    if gate.slice is None:
        return _describe(gate, "")
    column, value = next(iter(gate.slice.items()))
    return _describe(gate, f"every {column}" if value == "*" else f"{column}={value}")


def _describe(gate: Gate, where: str) -> str:
    parts = []
    if gate.min is not None:
        parts.append(f"≥ {_figure(gate.metric, gate.min)}")
    if gate.max is not None:
        parts.append(f"≤ {_figure(gate.metric, gate.max)}")
    if gate.max_degradation is not None:
        side = "above" if lower_is_better(gate.metric) else "below"
        parts.append(f"no more than {_figure(gate.metric, gate.max_degradation)} {side} the champion")
    text = f"{gate.metric} {' and '.join(parts)}"
    text += f" on {gate.device_class}" if gate.device_class else ""
    where += f"{', ' if where else ''}of {gate.min_support} rows or more" if gate.min_support else ""
    where += f"{', ' if where else ''}with confidence {gate.confidence:.6g}" if gate.confidence else ""
    return text + (f" ({where})" if where else "")


def _figure(metric: str, value: float) -> str:
    if metric == "sizeBytes":
        for unit, size in _SIZES:
            if value >= size and value % size == 0:
                return f"{value / size:g} {unit}"
        return f"{value:.0f} bytes"
    return f"{value:.6g}"


# ── the engine's figures ──────────────────────────────────────────────────────────────────────────────────────


def evaluate_gates(
    gates: Sequence[Gate], evidence: Evidence, champion: Evidence | None, dataset: DatasetFacts | None = None
) -> tuple[GateOutcome, ...]:
    """Evaluate one variant by its evidence. Gates with a device class are left to the rollout.

    Args:
        gates: The thresholds' gates.
        evidence: What ``evaluate`` measured of the variant: ``overall`` {metric: value}, ``slices``
            {"column=value": {metric: value}}, ``sizeBytes`` (bytes), ``latencyP95Ms`` (milliseconds), ``rows``.
        champion: The same of the variant in production; None when there is no champion yet.
        dataset: The dataset measured on; it tells which slices and classes should have test rows.

    Returns:
        One outcome for each gate; a gate on every slice has one for each value in the dataset, tested or not.
    """
    outcomes: list[GateOutcome] = []
    for gate in gates:
        if gate.device_class is not None:
            continue
        if gate.slice is None:
            outcomes.append(_evaluate(gate, "", evidence, champion, _lacking(gate, evidence, dataset)))
            continue
        column, wanted = next(iter(gate.slice.items()))
        keys = [f"{column}={wanted}"] if wanted != "*" else _slices(evidence, column, dataset)
        if not keys:
            detail = f"the evidence has no slice of {column}"
            outcomes.append(GateOutcome(describe(gate), None, None, _limit(gate), detail))
        for key in keys:
            lacking = _lacking_in_slice(gate, key, evidence, dataset)
            outcomes.append(_evaluate(gate, key, evidence, champion, lacking))
    return tuple(outcomes)


def choose_variant(
    order: Sequence[str],
    gates: Sequence[Gate],
    variants: Mapping[str, Evidence],
    champion: Evidence | None,
    dataset: DatasetFacts | None = None,
) -> Choice:
    """Pick the first variant whose gates all pass, and whose rows do not touch each other.

    Args:
        order: Variant names, the preferred first.
        gates: The thresholds' gates.
        variants: Evidence by variant (``evaluate_gates`` gives its shape). A variant without evidence is not picked.
        champion: Evidence of the champion's variant; None when there is no champion yet.
        dataset: The dataset measured on, as for ``evaluate_gates``.
    """
    outcomes: dict[str, tuple[GateOutcome, ...]] = {}
    for variant in order:
        evidence = variants.get(variant)
        if evidence is None:
            outcomes[variant] = (GateOutcome(f"{variant} is evaluated", None, None, None, "no evidence"),)
            continue
        outcomes[variant] = (*_own_answers(evidence), *evaluate_gates(gates, evidence, champion, dataset))
        if passes(outcomes[variant]):
            return Choice(variant, outcomes)
    return Choice(None, outcomes)


def _own_answers(evidence: Evidence) -> tuple[GateOutcome, ...]:
    """Fail a model whose answer for a row depends on the rows computed with it, whatever the thresholds say."""
    found = evidence.get("rowByRow")
    problem = found.get("problem") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or problem is None:
        return ()
    return (
        GateOutcome(
            "single rows give what batches give", False, _finite(found.get("batchDifference")), 0.0, str(problem)
        ),
    )


def _evaluate(gate: Gate, key: str, evidence: Evidence, champion: Evidence | None, lacking: str) -> GateOutcome:
    """Judge a figure; ``lacking`` says of which rows it lacks too many to be judged."""
    words = _describe(gate, key)
    if lacking:
        return GateOutcome(words, None, None, _limit(gate), lacking)
    found = _figure_of(evidence, key, gate.metric)
    value = _finite(found)
    if value is None:
        return GateOutcome(words, None, None, _limit(gate), _why_inconclusive(gate.metric, found))
    ends, detail = (value, value), ""
    if gate.confidence is not None:
        found_ends = figure_interval(evidence, key, gate.metric, gate.confidence)
        if found_ends is None:
            return GateOutcome(words, None, value, _limit(gate), _NOT_RESAMPLED)
        ends = found_ends
        detail = f"between {_figure(gate.metric, ends[0])} and {_figure(gate.metric, ends[1])}"
    bounds: list[tuple[float, bool]] = []
    if gate.min is not None:
        bounds.append((gate.min, ends[0] >= gate.min))
    if gate.max is not None:
        bounds.append((gate.max, ends[1] <= gate.max))
    if gate.max_degradation is not None:
        compared = _compare(gate, gate.max_degradation, key, evidence, champion)
        if compared.bound is not None:
            bounds.append(compared.bound)
        elif compared.inconclusive and all(ok for _, ok in bounds):
            return GateOutcome(words, None, value, None, compared.detail)
        detail = compared.detail
    limit = next((limit for limit, ok in bounds if not ok), bounds[0][0] if bounds else None)
    return GateOutcome(words, all(ok for _, ok in bounds), value, limit, detail)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A figure beside the champion's: the worst it may be and whether it holds; None where that is not known."""

    bound: tuple[float, bool] | None
    detail: str
    inconclusive: bool = False


def _compare(gate: Gate, allowed: float, key: str, evidence: Evidence, champion: Evidence | None) -> _Comparison:
    """Compare with the champion on the same rows; with a confidence, by the worse end of the paired difference."""
    if champion is None:
        return _Comparison(None, "no champion yet")
    metric, value = gate.metric, _finite(_figure_of(evidence, key, gate.metric))
    at = _figure_of(champion, key, metric)
    best = _finite(at)
    if best is None or value is None:
        return _Comparison(None, f"champion: {_why_inconclusive(metric, at)}", inconclusive=True)
    sign = 1 if lower_is_better(metric) else -1
    worse = sign * (value - best)
    detail = f"champion has {_figure(metric, best)}"
    if gate.confidence is not None:
        ends = difference_interval(evidence, champion, key, metric, gate.confidence)
        if ends is None:
            return _Comparison(None, f"champion: {_NOT_RESAMPLED}", inconclusive=True)
        worse = ends[1] if sign > 0 else -ends[0]
        detail += f"; on resampled rows {_figure(metric, worse)} worse at most"
    slack = _EPSILON * max(abs(value), abs(best))
    return _Comparison((best + sign * allowed, worse <= allowed + slack), detail)


def _figure_of(evidence: Evidence, key: str, metric: str) -> object:
    return _sliced(evidence, key, metric) if key else _overall(evidence, metric)


def _limit(gate: Gate) -> float | None:
    return gate.min if gate.min is not None else gate.max


def _overall(evidence: Evidence, metric: str) -> object:
    overall = evidence.get("overall")
    if isinstance(overall, Mapping) and metric in overall:
        return overall[metric]
    return evidence.get(metric)


def _sliced(evidence: Evidence, key: str, metric: str) -> object:
    slices = evidence.get("slices")
    figures = slices.get(key) if isinstance(slices, Mapping) else None
    return figures.get(metric) if isinstance(figures, Mapping) else None


def _slices(evidence: Evidence, column: str, dataset: DatasetFacts | None) -> list[str]:
    """List the slices of a column: those with evidence, and those the dataset has rows of."""
    slices = evidence.get("slices")
    measured = slices if isinstance(slices, Mapping) else {}
    there = {key for key in measured if isinstance(key, str) and key.startswith(f"{column}=")}
    known = dataset.slices.get(column, ()) if dataset is not None else ()
    return sorted(there | {f"{column}={value}" for value in known})


def _lacking_in_slice(gate: Gate, key: str, evidence: Evidence, dataset: DatasetFacts | None) -> str:
    """Return in words what keeps a slice's figure from being judged: it has no test rows, or too few."""
    column, _, value = key.partition("=")
    slices = evidence.get("slices")
    figures = slices.get(key) if isinstance(slices, Mapping) else None
    if figures is None and dataset is not None and value in dataset.slices.get(column, ()):
        counted = (dataset.slice_rows or {}).get(column, {}).get(value, {})
        there = ", ".join(f"{count} in {split}" for split, count in counted.items() if count)
        return f"no test rows of {key}" + (f" ({there})" if there else "") + _ADVICE
    if figures is None and dataset is not None and column in dataset.slices:
        near = suggestion(value, dataset.slices[column])
        return f"the dataset has no {key}" + (f" ({near})" if near else "")
    return _too_few(gate, figures.get("rows") if isinstance(figures, Mapping) else None)


def _lacking(gate: Gate, evidence: Evidence, dataset: DatasetFacts | None) -> str:
    """Return in words what keeps an overall figure from being judged: too few rows, or of a class."""
    if gate.metric not in OVER_CLASSES or dataset is None or dataset.class_rows is None:
        return _too_few(gate, evidence.get("rows"))
    tested = dataset.class_rows.get("test", {})
    least = gate.min_support or 1
    few = [f"{name} ({count})" for name, count in tested.items() if count < least]
    if not few:
        return ""
    shown = ", ".join(few[:_SHOWN]) + (f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else "")
    return f"fewer than {least} test rows of {shown}" + _ADVICE


def _too_few(gate: Gate, rows: object) -> str:
    if gate.min_support is None:
        return ""
    if not isinstance(rows, int) or isinstance(rows, bool):
        return "the evidence does not tell how many test rows the figure rests on"
    if rows >= gate.min_support:
        return ""
    return f"{rows} test rows, fewer than the {gate.min_support} of minSupport{_ADVICE}"


def _finite(found: object) -> float | None:
    """Take a figure only when it is a finite number; True is none, neither is a text that looks like one."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        value = float(found)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _why_inconclusive(metric: str, found: object) -> str:
    return f"no {metric} in the evidence" if found is None else f"{metric} is {found!r}, no finite number"


# ── devices' figures ──────────────────────────────────────────────────────────────────────────────────────────


def device_gates(gates: Iterable[Gate]) -> tuple[Gate, ...]:
    """Pick the gates that are judged by what devices measure, while a rollout runs."""
    return tuple(gate for gate in gates if gate.device_class is not None)


def evaluate_device_gates(
    gates: Iterable[Gate], measurements: Mapping[str, Sequence[float | None]]
) -> tuple[GateOutcome, ...]:
    """Evaluate device gates by the worst figure measured on a device of their class.

    Args:
        gates: Any gates; those without a device class are left out.
        measurements: The 95th percentile of the latency, in milliseconds, each device measured in its probe, by
            device class. None or no finite number: that device has no evidence.

    Returns:
        One outcome for each of ``device_gates(gates)``, in their order. One bad figure fails a gate; short of
        that, one missing figure makes it inconclusive.
    """
    return tuple(_judge_devices(gate, measurements.get(gate.device_class or "", ())) for gate in device_gates(gates))


def _judge_devices(gate: Gate, found: Sequence[float | None]) -> GateOutcome:
    words = describe(gate)
    values = [value for value in map(_finite, found) if value is not None]
    if not values:
        detail = f"no device of class {gate.device_class} has measured it"
        return GateOutcome(words, None, None, _limit(gate), detail)
    if gate.max is not None and max(values) > gate.max:
        return GateOutcome(words, False, max(values), gate.max, f"worst of {len(values)} devices")
    if gate.min is not None and min(values) < gate.min:
        return GateOutcome(words, False, min(values), gate.min, f"lowest of {len(values)} devices")
    if len(values) < len(found):
        detail = f"{len(found) - len(values)} of {len(found)} devices of class {gate.device_class} gave no figure"
        return GateOutcome(words, None, max(values), _limit(gate), detail)
    return GateOutcome(words, True, max(values), _limit(gate), f"worst of {len(values)} devices")
