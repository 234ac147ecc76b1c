"""Probing without a process of its own, for an application that embeds the agent: its runtime cannot be loaded twice.

The same samples and the same judgement as ``probe``; but a model that crashes the runtime takes the agent along.
"""

from pathlib import Path

from edgewright_agent.handle import ModelHandle, NotActive
from edgewright_agent.probing.golden import judge, probe_slot
from edgewright_agent.probing.outcomes import ProbeOutcome
from edgewright_agent.runtime import Runtime


class InProcessProber:
    """Runs probes in the agent's own process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def probe(self, slot: Path) -> ProbeOutcome:
        """As in Prober."""
        return probe_slot(slot, self._runtime)

    def verify(self, device_dir: Path, model: str) -> ProbeOutcome:
        """As in Prober."""
        try:
            handle = ModelHandle(device_dir, model, self._runtime)
        except NotActive as error:
            return ProbeOutcome(False, 0, 0.0, self._runtime.describe(), reason=error.reason, message=error.message)
        return judge(handle.current.path, handle.run, self._runtime.describe())
