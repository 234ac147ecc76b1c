"""Control of an environment in the state store: revisions, managed resources, intents, used plans, signals, the lease.

Implemented by ``state``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from edgewright.core.address import Address


@dataclass(frozen=True, slots=True)
class Intent:
    """A journaled intention: ``name`` is deterministic, so a repeat finds it."""

    name: str
    action: str
    address: str
    detail: Mapping[str, Any]
    at: datetime


class ControlReader(Protocol):
    """Reads the control data of one environment."""

    def version(self) -> str:
        """Return the version of the store's content: it changes with every write, and with nothing else."""
        ...

    def last_revision(self) -> str | None:
        """Return the revision applied last."""
        ...

    def accepted_revision(self) -> str | None:
        """Return the newest revision whose signatures and specs were accepted."""
        ...

    def managed(self) -> Mapping[Address, bool]:
        """Return the resources under management; True where pruning is disabled."""
        ...

    def open_intents(self) -> Sequence[Intent]:
        """List intents without an outcome, oldest first."""
        ...

    def plan_used(self, plan_id: str) -> datetime | None:
        """Return the time at which a plan was used, if it was."""
        ...

    def signals(self) -> Mapping[str, int]:
        """Return the number of times each signal was sent, by name: standby controllers wake the active one so."""
        ...


class ControlWriter(Protocol):
    """Writes the control data of one environment. Raises as ports.StateWriter."""

    def set_last_revision(self, revision: str) -> None:
        """Store the revision applied last."""
        ...

    def accept_revision(self, revision: str) -> None:
        """Store the accepted revision."""
        ...

    def set_managed(self, resources: Mapping[Address, bool]) -> None:
        """Replace the resources under management."""
        ...

    def begin(self, intent: Intent) -> None:
        """Journal an intent. Idempotent; an intent that was closed is open again."""
        ...

    def finish(self, name: str, outcome: str) -> None:
        """Close an intent: ``done``, ``failed``, ``cancelled`` or ``interrupted``."""
        ...

    def use_plan(self, plan_id: str, at: datetime) -> bool:
        """Mark a plan used; False where it was used before."""
        ...

    def signal(self, name: str) -> None:
        """Send a signal; needs no lease."""
        ...


class Lease(Protocol):
    """The right to write as one environment, fenced."""

    def renew(self) -> None:
        """Extend the lease.

        Raises:
            LeaseLost: Another holder took over.
        """
        ...

    def release(self) -> None:
        """Release the lease."""
        ...
