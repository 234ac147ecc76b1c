"""Time by which signatures expire: the wall clock, but never earlier than it once was when metadata verified.

A device whose clock starts in 1971 would believe whatever was signed since. What verified at a time had not expired,
so a clock that is far ahead cannot raise the floor above what the newest signatures allow. Used by ``trust``.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from edgewright_agent.durable import Disk

_STEP = timedelta(hours=1)
"""The floor is written so often at most, to spare the disk."""


class TrustedTime:
    """The wall clock with a floor that outlives the process.

    Args:
        path: File of the floor.
        now: The wall clock, aware.
        disk: Writes it.
        monotonic: Seconds that go on while the process runs, however the wall clock is set.
    """

    def __init__(
        self, path: Path, now: Callable[[], datetime], disk: Disk, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._disk = disk
        self._now = now
        self._monotonic = monotonic
        self._floor: datetime | None = _read(path)
        self._since = monotonic()

    def __call__(self) -> datetime:
        """Return the time; where the wall clock is below the floor, the floor and what has passed since."""
        now = self._now()
        if self._floor is None or now >= self._floor:
            return now
        return self._floor + timedelta(seconds=self._monotonic() - self._since)

    def verified(self) -> None:
        """Raise the floor to the wall clock: metadata has just verified at this time.

        Raises:
            OSError: The disk refuses.
        """
        now = self._now()
        if self._floor is not None and now < self._floor + _STEP:
            return
        self._floor, self._since = now, self._monotonic()
        self._disk.write(self._path, now.isoformat().encode("ascii"))


def _read(path: Path) -> datetime | None:
    """Read the floor; None where there is none, or none that can be read."""
    try:
        floor = datetime.fromisoformat(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return floor if floor.tzinfo is not None else None
