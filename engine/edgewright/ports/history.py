"""History, conditions and the receivers' cursors in the state store. Implemented by ``state``."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from edgewright.core.address import Address
from edgewright.core.status.conditions import Condition
from edgewright.core.status.events import Event


class HistoryReader(Protocol):
    """Reads events and conditions of one environment."""

    def events(self, *, limit: int = 100, address: str | None = None) -> Sequence[Event]:
        """List events, newest first."""
        ...

    def events_after(self, cursor: int, *, limit: int = 100) -> Sequence[tuple[int, Event]]:
        """List events with a higher number than ``cursor``, each with its number, oldest first."""
        ...

    def last_event(self) -> int:
        """Return the number of the newest event; 0 before the first."""
        ...

    def conditions(self) -> Mapping[Address, Sequence[Condition]]:
        """Return the stored conditions of each resource; the repository itself is ``repository/<name>``."""
        ...

    def notified(self) -> Mapping[str, int]:
        """Return the number of the last event each receiver was notified of, by the receiver's name."""
        ...


class HistoryWriter(Protocol):
    """Writes events and conditions of one environment. Raises as ports.StateWriter."""

    def add_events(self, events: Sequence[Event]) -> None:
        """Append to history."""
        ...

    def set_conditions(self, conditions: Mapping[Address, Sequence[Condition]]) -> None:
        """Replace the conditions of all resources; only differences are written."""
        ...

    def set_notified(self, receiver: str, cursor: int) -> None:
        """Store the number of the last event a receiver was notified of."""
        ...

    def prune_history(self, *, keep: int) -> int:
        """Delete all but the newest events, and closed intents and used plans older than those.

        Events that a receiver has not been notified of stay.

        Returns:
            The number of events deleted.
        """
        ...
