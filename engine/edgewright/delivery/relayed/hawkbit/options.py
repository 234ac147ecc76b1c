"""Options for a hawkBit, from fleets and ``driver``."""

from dataclasses import dataclass
from datetime import timedelta

FORCE_AFTER = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Types of software modules and distribution sets, by their keys in the hawkBit."""

    module: str
    distribution_set: str


@dataclass(frozen=True, slots=True)
class Options:
    """Options for a hawkBit."""

    create_targets: bool
    """Create targets for devices that hawkBit does not know."""
    kinds: Kinds
    force_after: timedelta = FORCE_AFTER
    """Time for a device to confirm a cancellation, before hawkBit is told to close the action without it."""
