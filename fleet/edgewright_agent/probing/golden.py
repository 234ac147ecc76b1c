"""Running a package's golden samples and judging what comes out. Called by ``child`` and ``in_process``.

Samples run one at a time, as an application's frames come; then again for the time each takes.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgewright_agent.probing.outcomes import ProbeOutcome
from edgewright_agent.runtime import Array, Runtime, Unsupported
from edgewright_wire.package import GOLDEN_FILE, MODEL_FILE, golden_atol
from edgewright_wire.slots import MANIFEST_FILE

TIMED_RUNS = 50
TIMED_SECONDS = 2.0


def probe_slot(slot: Path, runtime: Runtime) -> ProbeOutcome:
    """Run the golden samples of a slot's model."""
    described = runtime.describe()
    try:
        session = runtime.load(slot / MODEL_FILE)
    except Unsupported as error:
        return ProbeOutcome(False, 0, 0.0, described, reason="Incompatible", message=_one_line(error))
    except Exception as error:  # noqa: BLE001 - any runtime may be plugged in; whatever it raises, it refuses the model
        return ProbeOutcome(False, 0, 0.0, described, reason="LoadFailed", message=_one_line(error))
    return judge(slot, session.run, described)


def judge(slot: Path, run: Callable[[Array], Array], described: str) -> ProbeOutcome:
    """Compare what ``run`` computes with what the slot's golden samples expect."""
    try:
        manifest: dict[str, Any] = json.loads((slot / MANIFEST_FILE).read_bytes())
        atol = golden_atol(manifest)
        with np.load(slot / GOLDEN_FILE, allow_pickle=False) as arrays:
            inputs, expected = arrays["input"], arrays["expected"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        message = f"golden samples cannot be read: {_one_line(error)}"
        return ProbeOutcome(False, 0, 0.0, described, reason="InvalidPackage", message=message)
    samples = len(inputs)
    if samples == 0 or len(expected) != samples:
        message = f"{samples} golden inputs, {len(expected)} expected outputs"
        return ProbeOutcome(False, 0, atol, described, reason="InvalidPackage", message=message)
    try:
        worst, message = _compare(inputs, expected, run)
        passed = worst is not None and worst <= atol
        latency = _latency_p95_ms(inputs, run) if passed else None
    except Exception as error:  # noqa: BLE001 - any runtime may be plugged in; whatever it raises, it cannot run the model
        return ProbeOutcome(False, samples, atol, described, reason="RunFailed", message=_one_line(error))
    if passed:
        return ProbeOutcome(True, samples, atol, described, worst, latency)
    message = message or f"golden samples differ by up to {worst:.6g}; allowed is {atol:.6g}"
    return ProbeOutcome(False, samples, atol, described, worst, reason="ProbeMismatch", message=message)


def _compare(inputs: Array, expected: Array, run: Callable[[Array], Array]) -> tuple[float | None, str]:
    """Return the largest absolute error, or None and what is wrong with the outputs."""
    worst = 0.0
    for index in range(len(inputs)):
        output = np.asarray(run(inputs[index : index + 1]))
        wanted = expected[index : index + 1]
        if output.shape != wanted.shape:
            return None, f"golden sample {index}: output has shape {output.shape}, expected {wanted.shape}"
        error = float(np.max(np.abs(output.astype(np.float64) - wanted.astype(np.float64)), initial=0.0))
        if not np.isfinite(error):
            return None, f"golden sample {index}: output is not finite"
        worst = max(worst, error)
    return worst, ""


def _latency_p95_ms(inputs: Array, run: Callable[[Array], Array]) -> float:
    took: list[float] = []
    until = time.perf_counter() + TIMED_SECONDS
    while len(took) < TIMED_RUNS and (not took or time.perf_counter() < until):
        index = len(took) % len(inputs)
        started = time.perf_counter()
        run(inputs[index : index + 1])
        took.append(time.perf_counter() - started)
    return float(np.percentile(took, 95)) * 1000.0


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
