"""Probers for agent tests: the production Protocol, with devices that compute wrong at a chosen moment."""

from pathlib import Path

from edgewright_agent.handle import ModelHandle
from edgewright_agent.probing.in_process import InProcessProber
from edgewright_agent.probing.outcomes import ProbeOutcome
from fakes.agent_runtimes import LinearRuntime, SkewedRuntime


class FailsAfterSwitch(InProcessProber):
    """Passes in the idle slot, fails where it is active, for one version."""

    def __init__(self, bad: str) -> None:
        super().__init__(LinearRuntime())
        self._bad = bad
        self._skewed = InProcessProber(SkewedRuntime())
        self.verifications = 0

    def verify(self, device_dir: Path, model: str) -> ProbeOutcome:
        self.verifications += 1
        if ModelHandle(device_dir, model, LinearRuntime()).version == self._bad:
            return self._skewed.verify(device_dir, model)
        return super().verify(device_dir, model)
