"""Runs sessions with the devices that are due, each in a thread of its own. Called by ``driver``, within ``attend``.

It keeps no state of record: work is read from the store again and again, because other processes assign, too.
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
from edgewright.delivery.pushed.ssh.schedule import ScheduledDevice, SessionSchedule, scheduled_device
from edgewright.errors import EdgewrightError
from edgewright.ports import TwinStore

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 2.0
"""Between two reads of the store, where no change was announced."""
_REFRESH_SHARE = 20
"""The pause between reads is at least this many times as long as a read takes."""
_SHUTDOWN_SECONDS = 3.0
"""Time for sessions that are changing a device to finish when the controller shuts down."""
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class SessionResult:
    """Result of a session."""

    failed: bool
    twin: Twin | None
    """The device after it."""
    news: bool = False
    """Whether it changed something that rollouts or people see."""


RunSession = Callable[[Route, Deadline], SessionResult]


@dataclass(frozen=True, slots=True)
class _RunningSession:
    thread: threading.Thread
    deadline: Deadline
    fleet: str


class SshPool:
    """Runs sessions until it is stopped.

    Args:
        store: Keeps the twins.
        routes: Gives the route to every device that is declared.
        run_session: Runs one session with one device; raises nothing for what is wrong with the device.
        clock: Gives aware UTC times.
        wake: Is called when there is news.
    """

    def __init__(
        self,
        store: TwinStore,
        routes: Callable[[], Mapping[str, Route]],
        run_session: RunSession,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._read_routes = routes
        self._run_session = run_session
        self._clock = clock
        self._wake = wake
        self._stop = threading.Event()
        self._changed = threading.Event()
        """Set when a device may have become due."""
        self._lock = threading.Lock()
        self._schedule = SessionSchedule(random.random)
        self._routes: Mapping[str, Route] = {}
        self._devices: dict[str, ScheduledDevice] = {}
        self._running: dict[str, _RunningSession] = {}
        self._refresh_at = 0.0
        self._last_error = ""
        self._thread = threading.Thread(target=self._run, name="ssh", daemon=True)

    def start(self) -> None:
        """Start the scheduling thread."""
        self._thread.start()

    def refresh(self) -> None:
        """Read the store again at once: something is new there."""
        self._refresh_at = 0.0
        self._changed.set()

    def stop(self) -> None:
        """Stop within a few seconds: end uploads at once, and sessions that change a device after a grace period."""
        self._stop.set()
        self._changed.set()
        self._thread.join(_SHUTDOWN_SECONDS)
        until = time.monotonic() + _SHUTDOWN_SECONDS
        for is_last in (False, True):
            with self._lock:
                running = list(self._running.values())
            for each in running:
                if is_last or not each.deadline.critical:
                    each.deadline.stop()
            for each in running:
                each.thread.join(max(until - time.monotonic(), 0.0))
            until = time.monotonic() + _CLOSE_SECONDS

    # ── the scheduling thread ─────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stop.is_set():
            self._changed.clear()
            if time.monotonic() >= self._refresh_at:
                self._read_store()
            self._changed.wait(self._start_due())

    def _read_store(self) -> None:
        """Read the declared devices and their work."""
        started, now = time.monotonic(), self._clock()
        # A refresh that is asked for meanwhile must not be lost.
        self._refresh_at = math.inf
        try:
            routes = {device: route for device, route in self._read_routes().items() if route.delivery.type == "ssh"}
            found = {twin.device: twin for twin in self._store.twins("ssh")}
            devices = {device: scheduled_device(route, found.get(device), now) for device, route in routes.items()}
        except EdgewrightError as error:
            if error.message != self._last_error:
                log.warning("devices over SSH: %s", error.message)
            self._last_error = error.message
        except Exception:
            log.exception("devices over SSH: reading their work failed")
        else:
            self._last_error = ""
            with self._lock:
                changed = [device for device, route in self._routes.items() if routes.get(device) != route]
                self._schedule.reset_failures(changed)
                self._routes, self._devices = routes, devices
                self._schedule.retain(routes)
        ended = time.monotonic()
        self._refresh_at = min(self._refresh_at, ended + max(_REFRESH_SECONDS, (ended - started) * _REFRESH_SHARE))

    def _start_due(self) -> float:
        """Start the sessions that are due; return the seconds until another may be."""
        now = self._clock()
        with self._lock:
            devices = self._devices.values()
            running = {device: each.fleet for device, each in self._running.items()}
            chosen = self._schedule.due(devices, running, now) if not self._stop.is_set() else []
            for device in chosen:
                self._start(device)
            left = max(self._refresh_at - time.monotonic(), 0.0)
            next_due = self._schedule.next_due(devices, self._running)
        if next_due is None or next_due <= now:
            return left  # none waits, or all sessions are taken: the end of one sets the event
        return min(left, (next_due - now) / timedelta(seconds=1))

    def _start(self, scheduled: ScheduledDevice) -> None:
        deadline = Deadline()
        route = self._routes[scheduled.device]
        name = f"ssh-{scheduled.device}"
        thread = threading.Thread(target=self._work, args=(route, deadline), name=name, daemon=True)
        self._running[scheduled.device] = _RunningSession(thread, deadline, scheduled.fleet)
        thread.start()

    # ── each session's thread ─────────────────────────────────────────────────────────────────────────────────

    def _work(self, route: Route, deadline: Deadline) -> None:
        device = route.device.id
        result = SessionResult(failed=True, twin=None)
        try:
            result = self._run_session(route, deadline)
        except Exception:
            log.exception("%s: a session failed", device)
        finally:
            with self._lock:
                del self._running[device]
                self._schedule.record(device, self._clock(), failed=result.failed)
                if result.twin is not None and device in self._devices:
                    self._devices[device] = scheduled_device(route, result.twin, self._clock())
            self._changed.set()
        if result.news and not self._stop.is_set():
            self._wake()
