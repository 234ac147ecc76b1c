"""How a Mender server is used, as far as ``driver`` says."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Options:
    """How a Mender server is used."""

    proof_after: timedelta = timedelta(hours=9)
    """How long after a success the inventory may take to show it: by default clients send it every eight hours."""
    log_after: timedelta = timedelta(minutes=2)
    """How long after a failure its log may take: clients send it after they have said so."""
    look_every: timedelta = timedelta(seconds=60)
    """How often the inventory is asked for all devices."""
