"""Liveness and readiness of the process. ``server.health_routes`` reads them; the loops report, from any thread."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol

Role = Literal["starting", "active", "standby", "stopping"]


@dataclass(frozen=True, slots=True)
class Check:
    """The state of one part. Anyone who can reach the port can read it: no secrets, no addresses."""

    name: str
    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The role of the process and its checks. A standby that could take over at once is ready."""

    role: Role
    checks: tuple[Check, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether it is ready: neither starting nor stopping, and every check passes."""
        return self.role in {"active", "standby"} and all(check.ok for check in self.checks)


class Health(Protocol):
    """The source of health answers. Both methods must return at once and never raise."""

    def alive(self) -> Sequence[Check]:
        """Return a check for each loop: whether it moved within its bound. A failed check asks for a restart."""
        ...

    def ready(self) -> Readiness:
        """Return the role of the process and whether it can fulfil it."""
        ...


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of a loop, and the seconds until the next one is overdue."""

    at: float
    within: float


def check_heartbeats(beats: Mapping[str, Heartbeat], now: float) -> tuple[Check, ...]:
    """Check each loop, in the order they were registered."""
    return tuple(_check(name, beat, now) for name, beat in beats.items())


def _check(name: str, beat: Heartbeat, now: float) -> Check:
    silent = now - beat.at
    if silent <= beat.within:
        return Check(name, True)
    return Check(name, False, f"no sign of life for {silent:.0f} s; {beat.within:.0f} s are allowed")


class Heartbeats:
    """Signs of life of the process's loops."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count seconds by ``clock``, which must not jump."""
        self._clock = clock
        self._lock = threading.Lock()
        self._beats: dict[str, Heartbeat] = {}

    def expect(self, name: str, within: timedelta) -> None:
        """Expect a beat of ``name`` at least once in every ``within`` from now on; also changes the bound."""
        with self._lock:
            self._beats[name] = Heartbeat(self._clock(), within.total_seconds())

    def beat(self, name: str) -> None:
        """Record a sign of life; a name that is not expected is ignored."""
        with self._lock:
            if (before := self._beats.get(name)) is not None:
                self._beats[name] = Heartbeat(self._clock(), before.within)

    def forget(self, name: str) -> None:
        """Stop expecting beats of a loop that ended on purpose."""
        with self._lock:
            self._beats.pop(name, None)

    def alive(self) -> tuple[Check, ...]:
        """Return a check for each loop that is expected to beat."""
        with self._lock:
            beats = dict(self._beats)
        return check_heartbeats(beats, self._clock())


@dataclass(slots=True)
class ProcessHealth:
    """Implements ``Health``: heartbeats of the loops, the role of the process, and the checks reported to it."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    role: Role = "starting"
    _checks: dict[str, Check] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, name: str, ok: bool, message: str = "") -> None:
        """Record a check; it holds until the next report of that name."""
        with self._lock:
            self._checks[name] = Check(name, ok, message)

    def alive(self) -> tuple[Check, ...]:
        """Return the loops' checks."""
        return self.heartbeats.alive()

    def ready(self) -> Readiness:
        """Return the role and every reported check."""
        with self._lock:
            return Readiness(self.role, tuple(self._checks.values()))
