"""Rollouts, champions and requested controls in the state store. Implemented by ``state``."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from edgewright.core.address import Address
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState, RolloutSummary
from edgewright.core.status.events import Event
from edgewright_wire.messages import Assignment


class RolloutReader(Protocol):
    """Reads rollouts of one environment."""

    def champions(self) -> Mapping[str, Champion]:
        """Return the champions by model name."""
        ...

    def rollout_summaries(self) -> Mapping[Address, RolloutSummary]:
        """Return all rollouts ever started, without their devices."""
        ...

    def rollout(self, address: Address) -> RolloutState | None:
        """Return one rollout with its devices."""
        ...

    def requested_controls(self) -> Mapping[Address, Controls]:
        """Return the controls that people requested and the lease's holder has not taken up yet."""
        ...


class RolloutWriter(Protocol):
    """Writes rollouts of one environment. Raises as ports.StateWriter."""

    def set_champion(self, model: str, champion: Champion) -> None:
        """Set the champion of a model: what is in production."""
        ...

    def save_rollout(self, address: Address, state: RolloutState) -> None:
        """Store a rollout and its summary."""
        ...

    def save_rollout_with_assignments(
        self,
        address: Address,
        state: RolloutState,
        assignments: Sequence[Assignment],
        events: Sequence[Event],
        champion: tuple[str, Champion] | None = None,
    ) -> None:
        """Store a rollout's decisions in one transaction: its state, the assignments they make (unpublished), the
        events, and the model's new champion where the rollout has just succeeded.

        Raises:
            StateError: An assignment's version is not above the device's last one; nothing is stored.
        """
        ...

    def request_controls(self, address: Address, controls: Controls) -> None:
        """Request controls of a rollout, in place of those requested before and not taken up; needs no lease."""
        ...

    def take_controls(self, taken: Mapping[Address, Controls]) -> None:
        """Remove requests that the rollout's stored state now holds; one made anew since then stays."""
        ...
