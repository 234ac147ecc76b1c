"""Options for a Mender server, from ``driver``."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Options:
    """Options for a Mender server."""

    proof_after: timedelta | None = None
    """Time after a success for the inventory to show it; None: as the fleet's settings say."""
    log_after: timedelta = timedelta(minutes=2)
    """Time after a failure for its log to arrive: clients send it after they have said so."""
    look_every: timedelta = timedelta(seconds=60)
    """Interval between reads of the inventory of all devices."""
