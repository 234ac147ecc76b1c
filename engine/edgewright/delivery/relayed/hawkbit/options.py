"""How a hawkBit is used, as far as fleets and ``driver`` say."""

from dataclasses import dataclass
from datetime import timedelta

FORCE_AFTER = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Types of what is made, by their keys in the hawkBit."""

    module: str
    distribution_set: str


@dataclass(frozen=True, slots=True)
class Options:
    """How a hawkBit is used."""

    create_targets: bool
    """Make targets for devices that hawkBit does not know."""
    kinds: Kinds
    force_after: timedelta = FORCE_AFTER
    """How long a device may take to stop what was called off, before hawkBit is told to do without its word."""
