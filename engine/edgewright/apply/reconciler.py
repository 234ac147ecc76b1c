"""Observe, plan, act, record, until reality matches: what ``apply`` runs, and later the controller.

Level-triggered: every pass plans anew from what is desired and observed, so it does not matter what an earlier
pass, run or process had got to. A pass starts the steps that are ready; their outcomes wake the next pass.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from edgewright.apply.building import Workshop
from edgewright.apply.listening import Listener
from edgewright.apply.observing import Reality
from edgewright.apply.outcomes import Failure, Outcome, Terms
from edgewright.apply.publishing import Publisher
from edgewright.apply.rolling import Roller
from edgewright.core.address import Address
from edgewright.core.plan import (
    AdvanceWave,
    BuildStep,
    Plan,
    Prune,
    Publish,
    Rollback,
    StartRollout,
    Step,
    step_id,
)
from edgewright.core.planner import aims, plan
from edgewright.core.rollout_planning import Aim
from edgewright.core.rollout_state import DeviceState
from edgewright.core.snapshot import Snapshot
from edgewright.errors import BlobCorrupt, Cancelled, EdgewrightError, LeaseLost, StepFailed, Transient
from edgewright.ports import DeliveryReader, Event, Lease, SnapshotSource, StateReader, StateWriter
from edgewright_schemas.base import PRUNE_ANNOTATION

_TICK_SECONDS = 0.5
"""How long a pass waits for reports when nothing else can wake it."""
_ATTEMPTS = 4
_RENEW_EVERY = timedelta(seconds=10)


def _wait(cancel: threading.Event, seconds: float) -> None:
    cancel.wait(seconds)


@dataclass
class _Running:
    step: BuildStep
    cancel: threading.Event
    future: "Future[None]"


@dataclass
class Reconciler:
    """One run's machinery. Use once."""

    source: SnapshotSource
    reality: Reality
    reader: StateReader
    writer: StateWriter
    delivery: DeliveryReader
    workshop: Workshop
    publisher: Publisher
    roller: Roller
    lease: Lease
    listener: Listener
    clock: Callable[[], datetime]
    _running: dict[str, _Running] = field(default_factory=dict)
    _failures: dict[str, Failure] = field(default_factory=dict)
    _wake: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _fatal: list[BaseException] = field(default_factory=list)
    _touched: set[Address] = field(default_factory=set)
    """Rollouts whose devices have spoken since they were looked at last."""
    _renewed: datetime | None = None

    def stop(self) -> None:
        """Ask the run to end soon, leaving everything resumable. Safe from a signal handler."""
        self._stop.set()
        self._wake.set()

    def run(self, terms: Terms) -> Outcome:
        """Work until reality matches, nothing more can be done, time is up, or someone stops it.

        Raises:
            SpecError, SourceError, StateError, DeliveryError: Nothing sensible can be done.
            LeaseLost: Another process took over; nothing more was written.
        """
        pool = ThreadPoolExecutor(max_workers=terms.jobs, thread_name_prefix="step")
        try:
            return self._loop(terms, pool)
        finally:
            for running in self._running.values():
                running.cancel.set()
            pool.shutdown(wait=True)

    def _loop(self, terms: Terms, pool: ThreadPoolExecutor) -> Outcome:
        desired = self.source.snapshot()
        if terms.revision not in {None, desired.revision}:
            return self._end(self._plan(desired, terms), superseded_by=desired.revision)
        self._close_intents()
        self._attempt("refresh", self.publisher.refresh)
        # An earlier run may have ended between taking a report and acting on it.
        self._touched = {Address("rollout", rollout.metadata.name) for rollout in desired.rollouts()}
        while True:
            self._wake.clear()
            if self._fatal:
                raise self._fatal[0]
            if self._stop.is_set():
                return self._end(self._plan(desired, terms), stopped=True)
            self._keep_lease()
            newer = self.source.revision()
            if newer != desired.revision:
                if not terms.follow:
                    return self._end(self._plan(desired, terms), superseded_by=newer)
                desired = self.source.snapshot()
                self._failures.clear()
            self._take_reports(desired)
            current = self._plan(desired, terms)
            self._cancel_unneeded(current)
            wakes = self._act(desired, current, terms, pool)
            after = self._plan(desired, terms)
            if terms.until is not None and self.clock() >= terms.until:
                return self._end(after, timed_out=not after.empty)
            still = after.steps == current.steps and not self._wake.is_set()
            if still and not self._running and not self._hopeful(after, terms):
                self._record(desired, after)
                return self._end(after)
            if still:
                self._wake.wait(self._pause(wakes, terms))

    def _keep_lease(self) -> None:
        """Find out in time that another process has taken over, also while nothing is written.

        Raises:
            LeaseLost: It has.
        """
        now = self.clock()
        if self._renewed is None or now - self._renewed >= _RENEW_EVERY:
            self.lease.renew()
            self._renewed = now

    def _plan(self, desired: Snapshot, terms: Terms) -> Plan:
        observed = self.reality.observe(desired, retry_failures=terms.retry_failures)
        found = plan(desired, observed, self.clock())
        self.listener.planned(found)
        return found

    def _end(
        self, last: Plan, *, timed_out: bool = False, stopped: bool = False, superseded_by: str | None = None
    ) -> Outcome:
        return Outcome(last, tuple(self._failures.values()), timed_out, stopped, superseded_by)

    def _pause(self, wakes: list[datetime], terms: Terms) -> float:
        moments = [*wakes, *([terms.until] if terms.until else [])]
        nearest = min(((moment - self.clock()).total_seconds() for moment in moments), default=_TICK_SECONDS)
        return max(0.01, min(_TICK_SECONDS, nearest))

    def _hopeful(self, current: Plan, terms: Terms) -> bool:
        """Whether time or reports alone may bring this plan further."""
        return any(
            isinstance(step, StartRollout | AdvanceWave | Rollback)
            and self._may(step, terms)
            and not self._given_up(step)
            and not step.needs
            for step in current.steps
        )

    def _given_up(self, step: Step) -> bool:
        """Whether this run has tried a step in vain; a rollout is given up whole."""
        rollout = isinstance(step, StartRollout | AdvanceWave | Rollback)
        return (str(step.address) if rollout else step_id(step)) in self._failures

    def _may(self, step: Step, terms: Terms) -> bool:
        if terms.allowed is None or step_id(step) in terms.allowed:
            return True
        return isinstance(step, AdvanceWave | Rollback) and f"start-rollout {step.address}" in terms.allowed

    # ── acting ────────────────────────────────────────────────────────────────────────────────────────────────

    def _act(self, desired: Snapshot, current: Plan, terms: Terms, pool: ThreadPoolExecutor) -> list[datetime]:
        """Start what is ready; returns the moments at which rollouts want to be looked at again."""
        self._touched |= self.reader.requested_controls().keys()
        targets: set[Address] = set()
        held: set[Address] = set()
        for step in current.steps:
            if step.needs or not self._may(step, terms) or self._given_up(step):
                held.add(step.address)
                continue
            match step:
                case StartRollout() | AdvanceWave() | Rollback():
                    targets.add(step.address)
                case Publish():
                    self._guard(step, partial(self._publish, step))
                case Prune():
                    self._guard(step, partial(self._prune, step))
                case _:
                    self._start(desired, step, terms, pool)
        wakes = self._roll(desired, targets, held)
        self._attempt("assign", self.publisher.flush_assignments)
        return wakes

    def _start(self, desired: Snapshot, step: BuildStep, terms: Terms, pool: ThreadPoolExecutor) -> None:
        key = step.fingerprint
        if key is None or key in self._running or len(self._running) >= terms.jobs:
            return
        cancel = threading.Event()
        self.listener.started(step)
        future = pool.submit(self._build, desired, step, cancel)
        self._running[key] = _Running(step, cancel, future)
        future.add_done_callback(partial(self._finished, key))

    def _finished(self, key: str, future: "Future[None]") -> None:
        if (error := future.exception()) is not None:
            self._fatal.append(error)
        self._wake.set()  # before the step leaves the books, so that no pass can miss both
        self._running.pop(key, None)

    def _build(self, desired: Snapshot, step: BuildStep, cancel: threading.Event) -> None:
        """Run one build step in a pool thread.

        Raises:
            LeaseLost: And whatever else must end the run; ``_finished`` takes it from the future.
        """

        def again(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, EdgewrightError):
                self.listener.failed(step, error, state.upcoming_sleep)

        retrying = Retrying(
            retry=retry_if_exception_type(Transient),
            wait=wait_random_exponential(multiplier=1, max=30),
            stop=stop_after_attempt(_ATTEMPTS),
            sleep=partial(_wait, cancel),
            before_sleep=again,
            reraise=True,
        )
        try:
            artifact = retrying(self.workshop.make, desired, step, self.listener.progressed, cancel)
            self._event("StepDone", step, desired, f"{step_id(step)} done in {artifact.seconds:.1f} s")
            self.listener.done(step, artifact.seconds)
        except Cancelled:
            self._event("StepCancelled", step, desired, f"{step_id(step)} stopped; it can resume")
        except BlobCorrupt as error:
            self.listener.failed(step, error, 0.0)
        except StepFailed as error:
            self.writer.record_failure(step.fingerprint or "", error.message)
            self._fail(step, error, desired)
        except LeaseLost:
            raise
        except EdgewrightError as error:
            self._fail(step, error, desired)

    def _fail(self, step: Step, error: EdgewrightError, desired: Snapshot | None = None) -> None:
        self._failures[step_id(step)] = Failure(step_id(step), error)
        self.listener.failed(step, error, None)
        if desired is not None:
            self._event("StepFailed", step, desired, f"{step_id(step)}: {error.message}")

    def _event(self, reason: str, step: Step, desired: Snapshot, message: str) -> None:
        event = Event(self.clock(), reason, str(step.address), message, {}, desired.revision)
        self.writer.add_events([event])
        self.listener.happened(event)

    def _guard(self, step: Step, act: Callable[[], None]) -> None:
        """Run a short step here; one that fails stands in nobody else's way."""
        self.listener.started(step)
        begun = self.clock()
        try:
            act()
        except LeaseLost:
            raise
        except BlobCorrupt as error:
            self.listener.failed(step, error, 0.0)
        except EdgewrightError as error:
            self._fail(step, error)
        else:
            self.listener.done(step, (self.clock() - begun).total_seconds())

    def _publish(self, step: Publish) -> None:
        artifact = self.reader.artifacts().get(step.package_fingerprint or "")
        if artifact is None:
            raise StepFailed(f"the package of {step.address} is not there", hint="apply again")
        self.publisher.publish(artifact)

    def _prune(self, step: Prune) -> None:
        kept = {address: disabled for address, disabled in self.reader.inventory().items() if address != step.address}
        self.writer.set_inventory(kept)
        message = "no longer declared; devices keep what they run"
        self.writer.add_events([Event(self.clock(), "Pruned", str(step.address), message)])

    def _roll(self, desired: Snapshot, targets: set[Address], held: set[Address]) -> list[datetime]:
        """Advance rollouts that have a step, and those whose devices spoke; held ones only in what is under way."""
        spoken, self._touched = self._touched, set()
        if not targets and not spoken:
            return []
        observed = self.reality.observe(desired)
        wakes = []
        for address, aim in aims(desired, observed, self.clock()).items():
            if address not in targets | spoken:
                continue
            planned = address in targets and address not in held
            goal = aim if planned else replace(aim, release=None, key=None)
            try:
                wake = self.roller.advance(desired, address, goal)
            except LeaseLost:
                raise
            except EdgewrightError as error:
                self._stuck(desired, address, aim, error)
                continue
            if wake is not None:
                wakes.append(wake)
        return wakes

    def _stuck(self, desired: Snapshot, address: Address, aim: Aim, error: EdgewrightError) -> None:
        """Give a rollout up for this run, and until its key changes where it cannot succeed as declared."""
        self._failures[str(address)] = Failure(str(address), error)
        event = Event(self.clock(), "RolloutStuck", str(address), error.message, {}, desired.revision)
        if isinstance(error, StepFailed) and aim.key is not None:
            self.writer.record_failure(aim.key, error.message)
        self.writer.add_events([event])
        self.listener.happened(event)

    def _attempt(self, what: str, act: Callable[[], object]) -> None:
        """Do something that stands in nobody's way when it fails: the next pass or run attempts it again."""
        try:
            act()
        except LeaseLost:
            raise
        except EdgewrightError as error:
            self._failures[what] = Failure(what, error)
        else:
            self._failures.pop(what, None)

    # ── keeping the books ─────────────────────────────────────────────────────────────────────────────────────

    def _take_reports(self, desired: Snapshot) -> None:
        known = {id_: report.sequence for id_, report in self.reader.reports().items()}
        fresh = self.delivery.observe(known)
        if not fresh:
            return
        self.writer.record_reports(fresh)
        devices = [report.device for report in fresh]
        assigned = self.reader.assignments(devices)
        models = {model.model for entry in assigned.values() for model in entry.assignment.models}
        waiting = self.reader.rollout_summaries() if len(assigned) < len(devices) else {}
        for rollout in desired.rollouts():
            address = Address("rollout", rollout.metadata.name)
            summary = waiting.get(address)
            if rollout.spec.model in models or (summary and summary.counts.get(DeviceState.DEFERRED)):
                self._touched.add(address)

    def _cancel_unneeded(self, current: Plan) -> None:
        wanted = {getattr(step, "fingerprint", None) for step in current.steps}
        for fingerprint, running in list(self._running.items()):
            if fingerprint not in wanted:
                running.cancel.set()

    def _close_intents(self) -> None:
        """Settle what a crashed run left open: done where its effect is there, else planned anew by this run."""
        recorded = self.reader.artifacts()
        published = self.delivery.published()
        for intent in self.reader.open_intents():
            subject = intent.name.partition(":")[2]
            done = subject in (published if intent.action == "publish" else recorded)
            if done and intent.action != "publish":
                self.workshop.tidy(subject)
            self.writer.finish(intent.name, "done" if done else "interrupted")

    def _record(self, desired: Snapshot, last: Plan) -> None:
        """Note what is under management now, and what stands in the way, once."""
        for note in last.notes:
            before = self.reader.events(limit=1, address=str(note.address))
            if note.severity == "blocked" and (not before or before[0].message != note.message):
                event = Event(self.clock(), note.reason, str(note.address), note.message, {}, desired.revision)
                self.writer.add_events([event])
                self.listener.happened(event)
        managed = {
            address: resource.document.metadata.annotations.get(PRUNE_ANNOTATION) == "disabled"
            for address, resource in desired.resources.items()
        }
        inventory = self.reader.inventory()
        if inventory != {**inventory, **managed}:
            self.writer.set_inventory({**inventory, **managed})
        if self.reader.last_revision() != desired.revision:
            self.writer.set_last_revision(desired.revision)
