"""Cloned devices: two machines that report under one name. Pure but for what it remembers; used by ``reconcile``.

An agent names each of its starts. A start that is heard again after another one was is no restart: two agents run.
"""

from dataclasses import dataclass, field
from datetime import datetime

DUPLICATE = "Duplicate"
_REMEMBERED = 4
"""Starts that are remembered of each device; a device whose agent ends over and over has new ones."""


@dataclass(slots=True)
class _Starts:
    current: str
    earlier: tuple[str, ...] = ()
    returned_at: datetime | None = None


@dataclass(slots=True)
class DuplicateMemory:
    """Starts of agents that one controller has heard of."""

    _devices: dict[str, _Starts] = field(default_factory=dict)

    def hear(self, device: str, start: str | None, now: datetime) -> datetime | None:
        """Note the start that a device's newest report names, and return when one came back last, if ever."""
        if start is None:
            return None
        known = self._devices.setdefault(device, _Starts(start))
        if start != known.current:
            if start in known.earlier:
                known.returned_at = now
            others = tuple(each for each in known.earlier if each != start)
            known.current, known.earlier = start, (*others, known.current)[-_REMEMBERED:]
        return known.returned_at
