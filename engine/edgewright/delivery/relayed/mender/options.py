"""Options for a Mender server, from ``driver``."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Options:
    """Options for a Mender server."""

    proof_after: timedelta = timedelta(hours=9)
    """Time after a success for the inventory to show it: by default clients send it every eight hours."""
    log_after: timedelta = timedelta(minutes=2)
    """Time after a failure for its log to arrive: clients send it after they have said so."""
    look_every: timedelta = timedelta(seconds=60)
    """Interval between reads of the inventory of all devices."""
