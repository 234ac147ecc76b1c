"""Limits on fetching blobs: a bandwidth, and a window of the day. Called by ``agent`` and ``blobs``.

Nothing sleeps here. Blobs are fetched in slices; after each, the limits say when the next one is due, and the agent
does something else until then.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta

from edgewright_agent.decide import Refusal

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|KiB|MB|MiB)/s")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|KiB|MB|MiB|GiB)")
_BYTES = {"B": 1, "kB": 1000, "KB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GiB": 1024**3}
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)")
_DAY = timedelta(days=1)
BURST_SECONDS = 1.0
SLICE_SECONDS = 0.25


def parse_rate(text: str) -> float:
    """Read ``500KiB/s`` or ``2MB/s`` as bytes per second.

    Raises:
        ValueError: It is neither, or nothing at all.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is no bandwidth like 500KiB/s or 2MB/s")
    return float(match[1]) * _BYTES[match[2]]


def parse_size(text: str) -> float:
    """Read ``512MiB`` as bytes.

    Raises:
        ValueError: It is no size, or nothing at all.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is no size like 512MiB or 1GiB")
    return float(match[1]) * _BYTES[match[2]]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the day, by the device's local time; over midnight where it begins later than it ends."""

    begins: time
    ends: time

    def __str__(self) -> str:
        return f"{self.begins:%H:%M}-{self.ends:%H:%M}"

    def opens_in(self, local: datetime) -> float:
        """Seconds until it opens; 0 while it is open."""
        now = local.replace(tzinfo=None)
        begins = datetime.combine(now.date(), self.begins)
        length = (datetime.combine(now.date(), self.ends) - begins) % _DAY
        since = (now - begins) % _DAY
        return 0.0 if since < length else (_DAY - since).total_seconds()


def parse_window(text: str) -> Window:
    """Read ``22:00-06:00``.

    Raises:
        ValueError: It is no such window, or has no length.
    """
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no window of the day like 22:00-06:00")
    window = Window(time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4])))
    if window.begins == window.ends:
        raise ValueError(f"{text!r} begins when it ends; leave it out to fetch at any time")
    return window


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: what is fetched is paid for afterwards, so that it may go below nothing."""

    rate: float
    """Bytes per second."""
    level: float = 0.0
    """Bytes that may be fetched at once."""
    at: float = 0.0
    """When the level was that, in monotonic seconds."""

    def taken(self, size: int, now: float) -> "Bucket":
        """The bucket after so many bytes."""
        filled = min(self.rate * BURST_SECONDS, self.level + self.rate * max(0.0, now - self.at))
        return replace(self, level=filled - size, at=now)

    @property
    def due(self) -> float:
        """Time at which it holds enough for a slice, in monotonic seconds."""
        return self.at + max(0.0, self.rate * SLICE_SECONDS - self.level) / self.rate if self.level <= 0 else self.at


class FetchLimits:
    """Limits of agent.toml on fetching blobs.

    Args:
        bandwidth: Bytes per second; 0 for as many as come.
        window: None for the whole day.
    """

    def __init__(self, bandwidth: float = 0.0, window: Window | None = None) -> None:
        self._bucket = Bucket(bandwidth, bandwidth * BURST_SECONDS) if bandwidth else None
        self._window = window

    def fetched(self, size: int, now: float) -> bool:
        """Count bytes that came over the wire.

        Args:
            size: How many.
            now: Monotonic seconds.

        Returns:
            Whether more may come at once.
        """
        if self._bucket is None:
            return True
        self._bucket = self._bucket.taken(size, now)
        return self._bucket.due <= now

    def due(self, now: float, local: datetime) -> float:
        """Return the time at which blobs may be fetched (again), in monotonic seconds.

        Args:
            now: Monotonic seconds.
            local: The same, by the wall clock, in the device's time zone.
        """
        bandwidth = self._bucket.due if self._bucket is not None else 0.0
        closed = self._window.opens_in(local) if self._window is not None else 0.0
        return max(bandwidth, now + closed if closed else 0.0)

    def refusal(self, local: datetime) -> Refusal | None:
        """Return the refusal for the report while the window is closed."""
        if self._window is None or not self._window.opens_in(local):
            return None
        return Refusal(
            "OutsideWindow", f"blobs are fetched {self._window}, local time (UTC{local:%z}); the rest goes on"
        )
