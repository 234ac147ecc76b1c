"""The control loop of one environment: wait for the lease, reconcile until it is lost, wait again.

``supervisor`` starts one thread for each environment.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from edgewright.controller.environment import Environment
from edgewright.controller.health import ProcessHealth, Role
from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.facts import DatasetFacts
from edgewright.core.planning.plan import Plan, Step, step_id
from edgewright.core.rollout.state import RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.core.status.events import Event
from edgewright.core.status.notifications import severity_of
from edgewright.errors import EdgewrightError, LeaseLost
from edgewright.ports import Lease, Progress
from edgewright.reconcile.accepted import AcceptedSource
from edgewright.reconcile.backoff import Backoff, Deadline
from edgewright.reconcile.listener import NullListener
from edgewright.reconcile.reconciler import Reconciler
from edgewright.reconcile.run import RunContext, RunOptions
from edgewright.reconcile.status import StatusWriter

OnPassFinished = Callable[["Controller", Snapshot, Mapping[Address, Sequence[Condition]]], None]
KEPT_EVENTS = 100_000
_ALIVE_WITHIN = timedelta(minutes=5)
_RECHECK_SECONDS = 5.0
_PROGRESS_EVERY = timedelta(seconds=10)
_COLLECT_EVERY = timedelta(days=1)
_COLLECT_FIRST = timedelta(minutes=10)
"""After the start, so that a process that is restarted every day removes something too."""
_PRUNE_EVERY = timedelta(hours=1)


@dataclass
class Controller:
    """The loop of one environment."""

    environment: Environment
    health: ProcessHealth
    clock: Callable[[], datetime]
    on_pass: OnPassFinished
    """Called after every finished pass, on this loop's thread."""
    on_event: Callable[[], None]
    """Called when an event was added to history."""
    jobs: int = 2
    accept: str | None = None
    """A revision that an operator trusts, accepted once."""
    role: Role = "starting"
    desired: Snapshot | None = None
    """The accepted specs as of the last pass; None before the first pass and on standby."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _wakeup: threading.Event = field(default_factory=threading.Event)
    _reconciler: Reconciler | None = None
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.name = f"controller {self.environment.name}".strip()
        self.followed: AcceptedSource = self.environment.followed()
        self.log = structlog.get_logger("edgewright.controller")
        if self.environment.name:
            self.log = self.log.bind(environment=self.environment.name)
        self._pruned_at: datetime | None = None
        self._collected_at = self.clock() - _COLLECT_EVERY + _COLLECT_FIRST
        self._backoff = Backoff(self.clock)

    # ── from other threads ────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start the thread."""
        self.health.heartbeats.expect(self.name, _ALIVE_WITHIN)
        self._thread = threading.Thread(target=self._run, name=self.name)
        self._thread.start()

    def wake(self) -> None:
        """Check for changes at once. Safe from any thread."""
        self._wakeup.set()
        if (reconciler := self._reconciler) is not None:
            reconciler.wake()

    def stop(self) -> None:
        """Stop soon, leaving everything resumable. Safe from any thread."""
        self._stop.set()
        self._wakeup.set()
        if (reconciler := self._reconciler) is not None:
            reconciler.stop()

    def join(self) -> None:
        """Wait for the thread to end."""
        if self._thread is not None:
            self._thread.join()
        self.health.heartbeats.forget(self.name)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        backoff = self._backoff
        while not self._stop.is_set():
            try:
                self._serve()
            except LeaseLost:
                self.log.warning("another controller has taken over; on standby")
            except EdgewrightError as error:
                self._back_off(backoff.failed(self.name, error), error.message, error)
            except Exception as error:
                self.log.exception("unexpected error")
                self._back_off(backoff.failed(self.name), f"unexpected {type(error).__name__}", None)
            finally:
                self._reconciler = None
                self.desired = None
        self._set_role("stopping")

    def _back_off(self, until: datetime, message: str, error: EdgewrightError | None) -> None:
        if error is not None:
            self.log.error(message, hint=error.hint or None, again=until.isoformat(timespec="seconds"))
        self.health.report(self.name, False, "the last attempt failed; see the log")
        deadline = Deadline(until, self.clock)
        while not self._stop.is_set() and (left := deadline.left()) > 0:
            self.health.heartbeats.beat(self.name)
            self._stop.wait(min(left, _RECHECK_SECONDS))

    def _set_role(self, role: Role) -> None:
        if role != self.role:
            self.role = role
            self.log.info("role", role=role)

    def _serve(self) -> None:
        """Wait for the lease, then reconcile until it is lost or the loop is stopped.

        Raises:
            LeaseLost: Another controller holds it now.
            EdgewrightError: Reconciliation cannot go on.
        """
        self._set_role("standby")
        self.health.report(self.name, True, "standby")
        with self.environment.lease(_Cancel(self._stop, self._beat)) as lease:
            if lease is not None:
                self._set_role("active")
                self.followed = self.environment.followed()
                self._reconcile(lease)

    def _beat(self) -> None:
        self.health.heartbeats.beat(self.name)

    def _reconcile(self, lease: Lease) -> None:
        self._await_revision(lease)
        while not self._stop.is_set():
            desired = self.followed.snapshot()
            self.desired = desired
            self.health.report(self.name, True, "active")
            listener = ControllerListener(self)
            with ExitStack() as stack:
                reconciler = self.environment.reconciler(desired, lease, listener, self.followed)
                self._reconciler = reconciler
                stack.enter_context(self.environment.watch_reports(desired, reconciler.wake))
                if self._stop.is_set():
                    return
                reconciler.run(RunOptions(continuous=True, jobs=self.jobs))

    def _await_revision(self, lease: Lease) -> None:
        """Wait until a revision is accepted."""
        context = RunContext(self.environment.reader, self.environment.writer, NullListener(), self.clock)
        status_writer = StatusWriter(context)
        self._accept_once()
        while not self._stop.is_set():
            self._wakeup.clear()
            source = self.followed.look()
            if source.in_force is not None:
                return
            status_writer.write_source(source)
            self.on_event()
            self.health.report(self.name, False, "no revision is accepted yet")
            self.log.error("no revision is accepted", reason=source.reason, message=source.message)
            while not self._stop.is_set() and not self._wakeup.wait(_RECHECK_SECONDS):
                self._beat()
                lease.renew()

    def _accept_once(self) -> None:
        """Accept the revision an operator trusts, once: a restart must not go back to it every time."""
        if self.accept is None:
            return
        signal = f"accepted {self.accept}"
        if signal not in self.environment.reader.signals():
            self.followed.accept(self.accept)
            self.environment.writer.signal(signal)
            self.log.info("revision accepted by an operator", revision=self.accept)
        self.accept = None

    def finished_pass(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]]) -> None:
        """Record a finished pass; called by the listener."""
        self.desired = desired
        self._beat()
        self._backoff.clear()
        self.health.report(self.name, True, "active")
        now = self.clock()
        if self._pruned_at is None or abs(now - self._pruned_at) >= _PRUNE_EVERY:
            self._pruned_at = now
            self._prune_history(desired)
        self.on_pass(self, desired, conditions)

    def collect_if_due(self) -> None:
        """Remove once a day what is not needed any more; called by the listener when a pass has nothing left to do."""
        now = self.clock()
        if abs(now - self._collected_at) < _COLLECT_EVERY or self._stop.is_set():
            return
        self._collected_at = now
        try:
            self.log.info("removed what nothing needs", removed=self.environment.collect())
        except EdgewrightError as error:
            self.log.warning("cannot remove what nothing needs", error=error.message, hint=error.hint or None)
        except Exception:  # what is left over is no reason to end the pass; tomorrow it is tried again
            self.log.exception("unexpected error")
        self._beat()

    def failed_pass(self) -> None:
        """Record a pass that failed; called by the listener."""
        self.health.report(self.name, False, "the last pass failed; see the log")

    def _prune_history(self, desired: Snapshot) -> None:
        """Prune history; receivers that are no longer declared do not hold it back."""
        reader, writer = self.environment.reader, self.environment.writer
        repository = desired.repository()
        declared = {spec.name for spec in repository.spec.notifications} if repository else set()
        for receiver in reader.notified().keys() - declared:
            writer.set_notified(receiver, reader.last_event())
        writer.prune_history(keep=KEPT_EVENTS)


@dataclass(frozen=True, slots=True)
class _Cancel:
    """Implements ports.Cancel; every call is a heartbeat."""

    event: threading.Event
    beat: Callable[[], None]

    def is_set(self) -> bool:
        self.beat()
        return self.event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        self.beat()
        return self.event.wait(timeout)


class ControllerListener(NullListener):
    """Logs the progress of a run and records its heartbeats."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._log = controller.log
        self._rolled: dict[Address, str] = {}
        self._progressed: dict[Address, datetime] = {}

    def planned(self, plan: Plan) -> None:
        """Record a heartbeat."""
        self.waiting()

    def started(self, step: Step) -> None:
        """Log the step."""
        self._log.info("step started", step=step_id(step))

    def progressed(self, progress: Progress) -> None:
        """Log epochs, the first at once: it shows where training resumes."""
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
        """Log the step."""
        self._log.info("step done", step=step_id(step), seconds=round(seconds, 2))

    def made(self, artifact: Artifact) -> None:
        """Log what was found in a dataset that people must see."""
        if isinstance(artifact.facts, DatasetFacts):
            for notice in artifact.facts.notices or ():
                self._log.warning("dataset notice", address=str(artifact.address), notice=notice)

    def failed(self, step: Step, error: EdgewrightError, retry_in: float | None) -> None:
        """Log the error."""
        self._log.warning("step failed", step=step_id(step), error=error.message, hint=error.hint or None)

    def rollout_changed(self, address: Address, state: RolloutState) -> None:
        """Log the phase and wave of a rollout when they change."""
        text = f"{state.phase.value} {state.wave + 1}"
        if self._rolled.get(address) != text:
            self._rolled[address] = text
            self._log.info("rollout", rollout=address.name, phase=state.phase.value, wave=state.wave + 1)

    def happened(self, event: Event) -> None:
        """Log the event at the level of its severity, and wake the sender of notifications."""
        log = getattr(self._log, severity_of(event))
        log(event.reason, address=event.address, message=event.message)
        self._controller.on_event()

    def finished(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]], *, settled: bool) -> None:
        """Record the finished pass."""
        self._controller.finished_pass(desired, conditions)
        if settled:
            self._controller.collect_if_due()

    def waiting(self) -> None:
        """Record a heartbeat."""
        self._controller.health.heartbeats.beat(self._controller.name)

    def pass_failed(self, error: EdgewrightError, until: datetime) -> None:
        """Log the error and the time of the next attempt."""
        again = until.isoformat(timespec="seconds")
        self._log.warning("pass failed", error=error.message, hint=error.hint or None, again=again)
        self._controller.failed_pass()
