"""A builder and devices that are done at once, so that a large repository can be applied whole in a minute.

What they make is small but of the real shape: planner, state store, publisher and rollouts cannot tell. The builder is
the one that tests use. Called by ``workload`` and ``standing``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edgewright.delivery.agent.driver import AgentDelivery
from edgewright_wire.layout import report_name
from edgewright_wire.messages import Assignment, ModelReport, Phase, ProbeResult, Report
from fakes.builder import FakeBuilder

_STORES = [f"store-{number}" for number in range(6)]


def instant_builder() -> FakeBuilder:
    """Make what tests build with, for models that are evaluated store by store."""
    builder = FakeBuilder()
    builder.slices = {"store": _STORES}
    return builder


class ObedientDevices(AgentDelivery):
    """The real delivery, with devices behind it that run what they are assigned the moment it is published."""

    def __init__(self, repository: Path, reports: Path, keys: Path, clock: Callable[[], datetime]) -> None:
        super().__init__(repository, reports, keys, clock)
        self._reports = reports
        self._now = clock

    def switch_on(self, devices: Iterable[str]) -> None:
        """Let every device report for the first time: it runs nothing yet."""
        self._reports.mkdir(parents=True, exist_ok=True)
        for device in devices:
            self._say(Report(device=device, sequence=1, sent_at=self._now(), agent_version="1"))

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Publish the assignments; the devices verify them."""
        super().assign(assignments, configs)
        for assignment in assignments:
            self._say(
                Report(
                    device=assignment.device,
                    sequence=assignment.version + 1,
                    sent_at=self._now(),
                    agent_version="1",
                    device_class="lane",
                    assignment_version=assignment.version,
                    models=tuple(_verified(model, self._now()) for model in assignment.models),
                )
            )

    def _say(self, report: Report) -> None:
        (self._reports / report_name(report.device)).write_bytes(report.to_bytes())


def _verified(assigned: Any, now: datetime) -> ModelReport:
    digest = assigned.package.digest
    return ModelReport(
        model=assigned.model,
        phase=Phase.VERIFIED,
        release=assigned.release,
        installed=digest,
        active=digest,
        active_release=assigned.release,
        verified=digest,
        probe=ProbeResult(passed=True, samples=16, max_error=1e-6, atol=0.05, latency_p95_ms=1.0, runtime="none"),
        since=now,
    )
