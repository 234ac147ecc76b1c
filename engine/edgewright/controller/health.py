"""Whether the controller is alive and ready. Asked by ``health_routes``; the loops report to it, from any thread."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol

Role = Literal["starting", "active", "standby", "stopping"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be well. Anyone who can reach the port can read it: no secrets, no addresses."""

    name: str
    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this process does its part. A standby that could take over at once is ready."""

    role: Role
    checks: tuple[Check, ...] = ()

    @property
    def ok(self) -> bool:
        """Ready: neither starting nor stopping, and every check is well."""
        return self.role in {"active", "standby"} and all(check.ok for check in self.checks)


class Health(Protocol):
    """What health questions are answered from. Both must return at once and never raise."""

    def alive(self) -> Sequence[Check]:
        """A check for each loop of the process: whether it moved within its bound. One that did not: restart me."""
        ...

    def ready(self) -> Readiness:
        """What role the process has, and whether it can play it."""
        ...


@dataclass(frozen=True, slots=True)
class Beat:
    """When a loop last moved, and how long it may take until it moves again, in seconds."""

    at: float
    within: float


def judge(beats: Mapping[str, Beat], now: float) -> tuple[Check, ...]:
    """Tell which loops are alive, in the order they were expected."""
    return tuple(_judged(name, beat, now) for name, beat in beats.items())


def _judged(name: str, beat: Beat, now: float) -> Check:
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
        self._beats: dict[str, Beat] = {}

    def expect(self, name: str, within: timedelta) -> None:
        """From now on, expect ``name`` to beat at least once in every ``within``; also where the bound changes."""
        with self._lock:
            self._beats[name] = Beat(self._clock(), within.total_seconds())

    def beat(self, name: str) -> None:
        """Say that ``name`` is alive; one that is not expected is ignored."""
        with self._lock:
            if (before := self._beats.get(name)) is not None:
                self._beats[name] = Beat(self._clock(), before.within)

    def forget(self, name: str) -> None:
        """Expect nothing more of a loop that ended on purpose."""
        with self._lock:
            self._beats.pop(name, None)

    def alive(self) -> tuple[Check, ...]:
        """A check for each loop that is expected to beat."""
        with self._lock:
            beats = dict(self._beats)
        return judge(beats, self._clock())


@dataclass(slots=True)
class Vitals:
    """The health of a controller: its loops' heartbeats, its role, what it reports of itself; a ``Health``."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    role: Role = "starting"
    _checks: dict[str, Check] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, name: str, ok: bool, message: str = "") -> None:
        """Say how something is; it stays so until the next report of that name."""
        with self._lock:
            self._checks[name] = Check(name, ok, message)

    def alive(self) -> tuple[Check, ...]:
        """The loops' checks."""
        return self.heartbeats.alive()

    def ready(self) -> Readiness:
        """The role, and everything reported."""
        with self._lock:
            return Readiness(self.role, tuple(self._checks.values()))
