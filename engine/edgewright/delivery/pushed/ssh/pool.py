"""Works on devices as their turns come, each in a thread of its own. Called by ``driver``, within ``attend``.

It keeps no truth: what is to be done is read from the store again and again, because other processes assign, too.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.schedule import Schedule, Subject, subject_of
from edgewright.errors import EdgewrightError
from edgewright.ports import TwinStore

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
"""Between two looks at the store, where nobody says that something is new."""
_LOOK_SHARE = 20
"""How many times as long as a look takes nobody looks again."""
_ENDING_SECONDS = 3.0
"""What devices that are being changed are given when the controller ends."""
_CUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a pass."""

    failed: bool
    twin: Twin | None
    """The device after it."""
    news: bool = False
    """Whether that is something rollouts or people would see."""


Pass = Callable[[Route, Deadline], Ended]


@dataclass(frozen=True, slots=True)
class _Running:
    thread: threading.Thread
    cutoff: Deadline
    fleet: str


class SshPool:
    """Works on devices until it is stopped.

    Args:
        store: Keeps the twins.
        routes: Gives the way to every device that is gone to.
        make_pass: Works on one device once; raises nothing for what is wrong with the device.
        clock: Gives aware UTC times.
        wake: Is called when there is news.
    """

    def __init__(
        self,
        store: TwinStore,
        routes: Callable[[], Mapping[str, Route]],
        make_pass: Pass,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._routes = routes
        self._make_pass = make_pass
        self._clock = clock
        self._wake = wake
        self._stop = threading.Event()
        self._turn = threading.Event()
        """Set when somebody's turn may have come."""
        self._lock = threading.Lock()
        self._schedule = Schedule(random.random)
        self._ways: Mapping[str, Route] = {}
        self._subjects: dict[str, Subject] = {}
        self._running: dict[str, _Running] = {}
        self._look_at = 0.0
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="ssh", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def look_again(self) -> None:
        """Say that something is new in the store."""
        self._look_at = 0.0
        self._turn.set()

    def stop(self) -> None:
        """End within a few seconds: what is only being brought at once, what is being changed after a moment."""
        self._stop.set()
        self._turn.set()
        self._thread.join(_ENDING_SECONDS)
        until = time.monotonic() + _ENDING_SECONDS
        for is_last in (False, True):
            with self._lock:
                running = list(self._running.values())
            for each in running:
                if is_last or not each.cutoff.held:
                    each.cutoff.stop()
            for each in running:
                each.thread.join(max(until - time.monotonic(), 0.0))
            until = time.monotonic() + _CUT_SECONDS

    # ── the schedule's thread ─────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stop.is_set():
            self._turn.clear()
            if time.monotonic() >= self._look_at:
                self._look()
            self._turn.wait(self._start_due())

    def _look(self) -> None:
        """Read what is declared and what is to be done."""
        started, now = time.monotonic(), self._clock()
        # Whoever says meanwhile that something is new is not to be overheard.
        self._look_at = math.inf
        try:
            ways = {device: route for device, route in self._routes().items() if route.delivery.type == "ssh"}
            found = {twin.device: twin for twin in self._store.twins("ssh")}
            subjects = {device: subject_of(route, found.get(device), now) for device, route in ways.items()}
        except EdgewrightError as error:
            if error.message != self._said:
                log.warning("devices over SSH: %s", error.message)
            self._said = error.message
        except Exception:
            log.exception("devices over SSH: looking for what is to be done failed")
        else:
            self._said = ""
            with self._lock:
                self._schedule.forgive(device for device, way in self._ways.items() if ways.get(device) != way)
                self._ways, self._subjects = ways, subjects
                self._schedule.keep(ways)
        ended = time.monotonic()
        self._look_at = min(self._look_at, ended + max(_LOOK_SECONDS, (ended - started) * _LOOK_SHARE))

    def _start_due(self) -> float:
        """Start who is next; seconds until there may be another."""
        now = self._clock()
        with self._lock:
            subjects = self._subjects.values()
            running = {device: each.fleet for device, each in self._running.items()}
            chosen = self._schedule.due(subjects, running, now) if not self._stop.is_set() else []
            for subject in chosen:
                self._start(subject)
            left = max(self._look_at - time.monotonic(), 0.0)
            turn = self._schedule.next_turn(subjects, self._running)
        if turn is None or turn <= now:
            return left  # nobody waits, or all places are taken: a pass that ends is news
        return min(left, (turn - now) / timedelta(seconds=1))

    def _start(self, subject: Subject) -> None:
        cutoff = Deadline()
        route = self._ways[subject.device]
        thread = threading.Thread(target=self._work, args=(route, cutoff), name=f"ssh-{subject.device}", daemon=True)
        self._running[subject.device] = _Running(thread, cutoff, subject.fleet)
        thread.start()

    # ── each device's thread ──────────────────────────────────────────────────────────────────────────────────

    def _work(self, route: Route, cutoff: Deadline) -> None:
        device = route.device.id
        ended = Ended(failed=True, twin=None)
        try:
            ended = self._make_pass(route, cutoff)
        except Exception:
            log.exception("%s: a pass failed", device)
        finally:
            with self._lock:
                del self._running[device]
                self._schedule.ended(device, self._clock(), failed=ended.failed)
                if ended.twin is not None and device in self._subjects:
                    self._subjects[device] = subject_of(route, ended.twin, self._clock())
            self._turn.set()
        if ended.news and not self._stop.is_set():
            self._wake()
