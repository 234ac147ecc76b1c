"""Listeners of a run: progress lines, live tables and logs implement them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.planning.plan import Plan, Step
from edgewright.core.rollout.state import RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.errors import EdgewrightError
from edgewright.ports import Event, Progress


class Listener(Protocol):
    """Receives everything that happens in a run, from several threads; must return fast and never raise."""

    def planned(self, plan: Plan) -> None:
        """A pass computed this plan."""
        ...

    def started(self, step: Step) -> None:
        """A step began."""
        ...

    def progressed(self, progress: Progress) -> None:
        """A long step moved on."""
        ...

    def done(self, step: Step, seconds: float) -> None:
        """A step succeeded."""
        ...

    def made(self, artifact: Artifact) -> None:
        """A build step made an artifact."""
        ...

    def failed(self, step: Step, error: EdgewrightError, retry_in: float | None) -> None:
        """A step failed; it is tried again in ``retry_in`` seconds, or not at all."""
        ...

    def rollout_changed(self, address: Address, state: RolloutState) -> None:
        """A rollout moved on."""
        ...

    def happened(self, event: Event) -> None:
        """Something was written to history."""
        ...

    def finished(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]], *, settled: bool) -> None:
        """A continuous run has finished a pass; ``settled``: only others can bring it further."""
        ...

    def waiting(self) -> None:
        """A continuous run is alive, and has nothing to do."""
        ...

    def pass_failed(self, error: EdgewrightError, until: datetime) -> None:
        """A continuous run could not finish a pass, and tries again then."""
        ...


class NullListener:
    """A listener that ignores everything."""

    def planned(self, plan: Plan) -> None:
        """Ignore the call."""

    def started(self, step: Step) -> None:
        """Ignore the call."""

    def progressed(self, progress: Progress) -> None:
        """Ignore the call."""

    def done(self, step: Step, seconds: float) -> None:
        """Ignore the call."""

    def made(self, artifact: Artifact) -> None:
        """Ignore the call."""

    def failed(self, step: Step, error: EdgewrightError, retry_in: float | None) -> None:
        """Ignore the call."""

    def rollout_changed(self, address: Address, state: RolloutState) -> None:
        """Ignore the call."""

    def happened(self, event: Event) -> None:
        """Ignore the call."""

    def finished(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]], *, settled: bool) -> None:
        """Ignore the call."""

    def waiting(self) -> None:
        """Ignore the call."""

    def pass_failed(self, error: EdgewrightError, until: datetime) -> None:
        """Ignore the call."""
