"""Outcome of running golden samples, as the child process returns it. Pure, and without numpy: the agent itself never
computes. Called by ``golden``, ``prober`` and ``models.actions``.
"""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the child that computes does without pydantic
    from edgewright_wire.messages import ProbeResult


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """Outcome of a probe: the fields of ProbeResult, and the reason of a failure."""

    passed: bool
    samples: int
    atol: float
    runtime: str
    max_error: float | None = None
    latency_p95_ms: float | None = None
    reason: str = ""
    """ProbeMismatch, LoadFailed, Incompatible, RunFailed, InvalidPackage, ProbeCrashed or ProbeTimeout."""
    message: str = ""

    def to_json(self) -> str:
        """Write one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ProbeOutcome":
        """Read what to_json wrote.

        Raises:
            ValueError, TypeError: It did not write this.
        """
        return cls(**json.loads(text))

    def result(self) -> "ProbeResult":
        """Keep what goes into a report."""
        from edgewright_wire.messages import ProbeResult

        return ProbeResult(
            passed=self.passed,
            samples=self.samples,
            max_error=self.max_error,
            atol=self.atol,
            latency_p95_ms=self.latency_p95_ms,
            runtime=self.runtime,
        )
