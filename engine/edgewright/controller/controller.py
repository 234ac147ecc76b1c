"""Keeps one environment equal to what it follows, for as long as the process lives: stand by, lead, stand by again.

One thread for each environment, started by ``supervisor``.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from edgewright.controller.environment import Environment
from edgewright.controller.health import Role, Vitals
from edgewright.core.address import Address
from edgewright.core.planning.plan import Plan, Step, step_id
from edgewright.core.rollout.state import RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.core.status.events import Event
from edgewright.core.status.notifications import severity_of
from edgewright.errors import EdgewrightError, LeaseLost
from edgewright.ports import Lease, Progress
from edgewright.reconcile.accepted import AcceptedSource
from edgewright.reconcile.backoff import Backoff
from edgewright.reconcile.listener import NullListener
from edgewright.reconcile.reconciler import Reconciler
from edgewright.reconcile.run import RunContext, RunOptions
from edgewright.reconcile.status import StatusWriter

Rested = Callable[["Controller", Snapshot, Mapping[Address, Sequence[Condition]]], None]
KEPT_EVENTS = 100_000
_ALIVE_WITHIN = timedelta(minutes=5)
_LOOK_SECONDS = 5.0
_PROGRESS_EVERY = timedelta(seconds=10)
_TIDY_EVERY = timedelta(hours=1)


@dataclass
class Controller:
    """One environment's loop."""

    station: Environment
    vitals: Vitals
    clock: Callable[[], datetime]
    rested: Rested
    """Told of every finished pass, on this loop's thread."""
    happened: Callable[[], None]
    """Told that history was written."""
    jobs: int = 2
    accept: str | None = None
    """A revision to trust on a person's word, once."""
    role: Role = "starting"
    desired: Snapshot | None = None
    """What is in force, as of the last pass; None before the first and while standing by."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _woken: threading.Event = field(default_factory=threading.Event)
    _reconciler: Reconciler | None = None
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.name = f"controller {self.station.name}".strip()
        self.followed: AcceptedSource = self.station.followed()
        self.log = structlog.get_logger("edgewright.controller")
        if self.station.name:
            self.log = self.log.bind(environment=self.station.name)
        self._tidied: datetime | None = None
        self._backoff = Backoff(self.clock)

    # ── from other threads ────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin."""
        self.vitals.heartbeats.expect(self.name, _ALIVE_WITHIN)
        self._thread = threading.Thread(target=self._run, name=self.name)
        self._thread.start()

    def wake(self) -> None:
        """Say that something may have changed."""
        self._woken.set()
        if (reconciler := self._reconciler) is not None:
            reconciler.wake()

    def stop(self) -> None:
        """Ask it to end soon, leaving everything resumable."""
        self._stop.set()
        self._woken.set()
        if (reconciler := self._reconciler) is not None:
            reconciler.stop()

    def join(self) -> None:
        """Wait until it has ended."""
        if self._thread is not None:
            self._thread.join()
        self.vitals.heartbeats.forget(self.name)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        backoff = self._backoff
        while not self._stop.is_set():
            try:
                self._serve()
            except LeaseLost:
                self.log.warning("another controller has taken over; standing by")
            except EdgewrightError as error:
                self._wait_out(backoff.failed(self.name, error), error.message, error)
            except Exception as error:
                self.log.exception("unexpected error")
                self._wait_out(backoff.failed(self.name), f"unexpected {type(error).__name__}", None)
            finally:
                self._reconciler = None
                self.desired = None
        self._set_role("stopping")

    def _wait_out(self, until: datetime, message: str, error: EdgewrightError | None) -> None:
        if error is not None:
            self.log.error(message, hint=error.hint or None, again=until.isoformat(timespec="seconds"))
        self.vitals.report(self.name, False, "the last attempt failed; see the log")
        while not self._stop.is_set() and (left := (until - self.clock()).total_seconds()) > 0:
            self.vitals.heartbeats.beat(self.name)
            self._stop.wait(min(left, _LOOK_SECONDS))

    def _set_role(self, role: Role) -> None:
        if role != self.role:
            self.role = role
            self.log.info("role", role=role)

    def _serve(self) -> None:
        """Wait for the lease, then lead until it is lost or everything ends.

        Raises:
            LeaseLost, EdgewrightError: Leading ended so.
        """
        self._set_role("standby")
        self.vitals.report(self.name, True, "standby")
        with self.station.lease(_Cancel(self._stop, self._beat)) as lease:
            if lease is not None:
                self._set_role("active")
                self.followed = self.station.followed()
                self._lead(lease)

    def _beat(self) -> None:
        self.vitals.heartbeats.beat(self.name)

    def _lead(self, lease: Lease) -> None:
        self._find_revision(lease)
        while not self._stop.is_set():
            desired = self.followed.snapshot()
            self.desired = desired
            self.vitals.report(self.name, True, "active")
            listener = ControllerListener(self)
            with ExitStack() as stack:
                reconciler = self.station.reconciler(desired, lease, listener, self.followed)
                self._reconciler = reconciler
                stack.enter_context(self.station.watch_reports(desired, reconciler.wake))
                if self._stop.is_set():
                    return
                reconciler.run(RunOptions(continuous=True, jobs=self.jobs))

    def _find_revision(self, lease: Lease) -> None:
        """Wait until there is a revision to work with."""
        context = RunContext(self.station.reader, self.station.writer, NullListener(), self.clock)
        status_writer = StatusWriter(context)
        self._accept_once()
        while not self._stop.is_set():
            self._woken.clear()
            standing = self.followed.look()
            if standing.in_force is not None:
                return
            status_writer.write_source(standing)
            self.happened()
            self.vitals.report(self.name, False, "no revision is in force yet")
            self.log.error("no revision is in force", reason=standing.reason, message=standing.message)
            while not self._stop.is_set() and not self._woken.wait(_LOOK_SECONDS):
                self._beat()
                lease.renew()

    def _accept_once(self) -> None:
        """Trust a revision on a person's word: once for each, or a restart would go back to it every time."""
        if self.accept is None:
            return
        word = f"accepted {self.accept}"
        if word not in self.station.reader.signals():
            self.followed.accept(self.accept)
            self.station.writer.signal(word)
            self.log.info("accepted on a person's word", revision=self.accept)
        self.accept = None

    def finished_pass(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]]) -> None:
        """Take note of a pass; called by its listener."""
        self.desired = desired
        self._beat()
        self._backoff.clear()
        self.vitals.report(self.name, True, "active")
        now = self.clock()
        if self._tidied is None or now - self._tidied >= _TIDY_EVERY:
            self._tidied = now
            self._tidy(desired)
        self.rested(self, desired, conditions)

    def could_not_finish(self) -> None:
        """Take note of a pass that something stood in the way of; called by its listener."""
        self.vitals.report(self.name, False, "the last pass could not be finished; see the log")

    def _tidy(self, desired: Snapshot) -> None:
        """Bound history; receivers that are no longer declared do not hold it back."""
        reader, writer = self.station.reader, self.station.writer
        repository = desired.repository()
        declared = {spec.name for spec in repository.spec.notifications} if repository else set()
        for receiver in reader.notified().keys() - declared:
            writer.set_notified(receiver, reader.last_event())
        writer.prune_history(keep=KEPT_EVENTS)


@dataclass(frozen=True, slots=True)
class _Cancel:
    """Implements ports.Cancel; every question is a sign of life."""

    event: threading.Event
    beat: Callable[[], None]

    def is_set(self) -> bool:
        self.beat()
        return self.event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        self.beat()
        return self.event.wait(timeout)


class ControllerListener(NullListener):
    """Writes what a run says to the log, and passes on that it lives."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._log = controller.log
        self._rolled: dict[Address, str] = {}
        self._progressed: dict[Address, datetime] = {}

    def planned(self, plan: Plan) -> None:
        """Live."""
        self.waiting()

    def started(self, step: Step) -> None:
        """Log it."""
        self._log.info("step started", step=step_id(step))

    def progressed(self, progress: Progress) -> None:
        """Log epochs, the first at once: it says where training resumes."""
        if progress.unit != "epoch":
            return
        now = self._controller.clock()
        last = self._progressed.get(progress.address)
        if last is None or now - last >= _PROGRESS_EVERY:
            self._progressed[progress.address] = now
            figures = {name: round(value, 4) for name, value in progress.figures.items()}
            where = f"{progress.done}/{progress.total}"
            self._log.info("training", address=str(progress.address), epoch=where, **figures)

    def done(self, step: Step, seconds: float) -> None:
        """Log it."""
        self._log.info("step done", step=step_id(step), seconds=round(seconds, 2))

    def failed(self, step: Step, error: EdgewrightError, retry_in: float | None) -> None:
        """Log why."""
        self._log.warning("step failed", step=step_id(step), error=error.message, hint=error.hint or None)

    def rolled(self, address: Address, state: RolloutState) -> None:
        """Log where a rollout stands, when that changes."""
        text = f"{state.phase.value} {state.wave + 1}"
        if self._rolled.get(address) != text:
            self._rolled[address] = text
            self._log.info("rollout", rollout=address.name, phase=state.phase.value, wave=state.wave + 1)

    def happened(self, event: Event) -> None:
        """Log it at the level of its severity, and let receivers be told."""
        log = getattr(self._log, severity_of(event))
        log(event.reason, address=event.address, message=event.message)
        self._controller.happened()

    def rested(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]], *, settled: bool) -> None:
        """Pass it on."""
        self._controller.finished_pass(desired, conditions)

    def waiting(self) -> None:
        """Live."""
        self._controller.vitals.heartbeats.beat(self._controller.name)

    def troubled(self, error: EdgewrightError, until: datetime) -> None:
        """Log what stands in the way."""
        again = until.isoformat(timespec="seconds")
        self._log.warning("a pass could not be finished", error=error.message, hint=error.hint or None, again=again)
        self._controller.could_not_finish()
