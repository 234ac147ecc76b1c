"""Observe, plan, act, record, until reality matches: what ``apply`` runs once, and the controller all day.

Level-triggered: every pass plans anew from what is desired and observed, so it does not matter what an earlier
pass, run or process had got to. A pass starts the steps that are ready; their outcomes wake the next pass.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edgewright.core.address import Address
from edgewright.core.planning.plan import Plan
from edgewright.core.planning.rollouts import RolloutTarget
from edgewright.core.rollout.windows import in_window
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.source import SourceStatus, repository_address
from edgewright.errors import EdgewrightError, LeaseLost
from edgewright.ports import DeliveryReader, Lease, SnapshotSource
from edgewright.reconcile.backoff import Backoff, Deadline, PollThrottle
from edgewright.reconcile.build_pool import BuildPool
from edgewright.reconcile.builds import BuildRunner
from edgewright.reconcile.executor import PlanExecutor
from edgewright.reconcile.journal import Journal
from edgewright.reconcile.observer import Observer, StandingPlan
from edgewright.reconcile.publisher import Publisher
from edgewright.reconcile.repairs import Repairer
from edgewright.reconcile.rollouts import RolloutDriver
from edgewright.reconcile.run import RunContext, RunOptions, RunResult
from edgewright.reconcile.status import StatusWriter
from edgewright_schemas.environment import AgentDelivery

_TICK_SECONDS = 0.5
"""Wait of a pass for reports when nothing else can wake it."""
_POLL_SECONDS = 2.0
"""Interval at which a continuous run polls for reports, requests and other controllers' signals; reports are polled
less often where there are many (``backoff.PollThrottle``)."""
_RENEW_EVERY = timedelta(seconds=10)
_WHOLE = "reconciliation"
_REFRESH = "refresh"


@dataclass
class Reconciler:
    """Runs passes until reality matches. Use once."""

    context: RunContext
    source: SnapshotSource
    observer: Observer
    delivery: DeliveryReader
    build_runner: BuildRunner
    publisher: Publisher
    rollout_driver: RolloutDriver
    lease: Lease
    source_status: Callable[[], SourceStatus] | None = None
    """Gives the status of the source of the specs, for the repository's own condition."""
    _touched: frozenset[Address] = frozenset()
    """Rollouts with news of their devices that no pass has acted on yet."""
    _wake: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _renewed: datetime | None = None

    def __post_init__(self) -> None:
        self.journal = Journal(self.context, self.delivery)
        self.standing_plan = StandingPlan(self.observer)
        self.status_writer = StatusWriter(self.context, self.source_status)
        self.backoff = Backoff(self.context.clock)
        self.executor = PlanExecutor(
            context=self.context,
            publisher=self.publisher,
            repairer=Repairer(self.context, self.delivery, self.publisher, self.observer.memory),
            rollout_driver=self.rollout_driver,
            journal=self.journal,
            backoff=self.backoff,
        )

    def stop(self) -> None:
        """Ask the run to end soon, with everything resumable. Safe in a signal handler."""
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Wake the run: a commit, a report or a request may be there. Safe in any thread."""
        self._wake.set()

    def run(self, options: RunOptions) -> RunResult:
        """Work until reality matches, nothing more can be done, time is up, or someone stops it.

        A continuous run ends only when it is stopped, or when an accepted revision changes what it was wired with.

        Raises:
            SpecError, SourceError, StateError, DeliveryError: Nothing sensible can be done (not in a continuous run,
                which tries again later).
            LeaseLost: Another process took over; nothing more was written.
        """
        self._pool = BuildPool(
            build_runner=self.build_runner,
            listener=self.context.listener,
            step_ended=self.executor.finish_build,
            wake=self._wake.set,
            stopping=self._stop.is_set,
            jobs=options.jobs,
        )
        try:
            with self.publisher.delivery.attend(self._wake.set):
                return self._loop(options)
        finally:
            self._pool.close()

    def _loop(self, options: RunOptions) -> RunResult:
        desired = self.source.snapshot()
        if options.revision not in {None, desired.revision}:
            return self._end(self._plan(desired, options), superseded_by=desired.revision)
        # An earlier run may have ended between taking a report and acting on it.
        self._touched = _rollouts(desired)
        begun = False
        while True:
            self._wake.clear()
            if self._pool.fatal:
                raise self._pool.fatal[0]
            if self._stop.is_set():
                return self._end(self._plan(desired, options), stopped=True)
            try:
                self._renew_lease()
                if not begun:
                    self.journal.close_intents(self.build_runner)
                    self.executor.attempt(_REFRESH, self.publisher.refresh)
                    begun = True
                newer = self.source.revision()
                if newer != desired.revision:
                    fresh = self.source.snapshot() if options.follow or options.continuous else None
                    if fresh is None or (options.continuous and _wiring(fresh) != _wiring(desired)):
                        return self._end(self._plan(desired, options), superseded_by=newer)
                    desired = fresh
                    self._record_revision(desired, options)
                    self.executor.forget_failures()
                if (ended := self._pass(desired, options)) is not None:
                    return ended
                self.backoff.succeeded(_WHOLE)
            except LeaseLost:
                raise
            except EdgewrightError as error:
                if not options.continuous:
                    raise
                self._wait_after_failure(desired, error)
                self._touched = _rollouts(desired)  # for reports that were taken, and not acted on

    def _pass(self, desired: Snapshot, options: RunOptions) -> RunResult | None:
        """Observe, plan and act once, then wait for a reason to do so again; a result ends the run."""
        self._touched |= self.journal.take_reports(desired)
        due = options.drift and self.observer.memory.due(self.context.clock(), desired.reconciliation().drift_interval)
        if due or (_REFRESH in self.executor.failures and not self.backoff.is_waiting(_REFRESH)):
            self.executor.attempt(_REFRESH, self.publisher.refresh)
        current, rollout_targets = self._plan_with_targets(desired, options, deep=due)
        self._pool.cancel_all_but({getattr(step, "fingerprint", None) or "" for step in current.steps})
        executed = self.executor.execute(desired, current, rollout_targets, options, self._pool, self._touched)
        self._touched = executed.touched
        # A plan of a large repository takes seconds; where the next pass comes at once, it makes one anyway.
        again = self._wake.is_set() and not options.continuous
        after = self._plan(desired, options) if executed.acted and not again else current
        if options.until is not None and self.context.clock() >= options.until:
            last = self._plan(desired, options)
            return self._end(last, timed_out=not last.empty)
        busy = self._pool.busy  # asked first: what has ended by now has woken us
        still = after.steps == current.steps and not self._wake.is_set()
        settled = still and not busy and not self.executor.can_progress(after, options)
        if settled:
            self.journal.close_intents(self.build_runner)
            self.journal.settle(desired, after)
        if options.continuous:
            conditions = self.status_writer.write(desired, after, self.executor.failures)
            self.context.listener.finished(desired, conditions, settled=settled)
            if still:
                self._idle(desired, after, executed.wakes)
        elif settled:
            return self._end(after)
        elif still:
            self._wake.wait(self._pause(executed.wakes, options))
        return None

    def _record_revision(self, desired: Snapshot, options: RunOptions) -> None:
        if options.continuous:
            repository = desired.repository()
            address = repository_address(repository.metadata.name if repository else "")
            self.journal.event(
                "RevisionTaken", address, f"revision {desired.revision[:12]} is in force", desired.revision
            )

    def _renew_lease(self) -> None:
        """Renew the lease, which also shows in time that another process has taken over.

        Raises:
            LeaseLost: Another process has.
        """
        now = self.context.clock()
        if self._renewed is None or abs(now - self._renewed) >= _RENEW_EVERY:
            self.lease.renew()
            self._renewed = now

    def _plan(self, desired: Snapshot, options: RunOptions) -> Plan:
        return self._plan_with_targets(desired, options)[0]

    def _plan_with_targets(
        self, desired: Snapshot, options: RunOptions, *, deep: bool = False
    ) -> tuple[Plan, Mapping[Address, RolloutTarget]]:
        found, rollout_targets = self.standing_plan.plan(
            desired, self.context.clock(), retry_failures=options.retry_failures, deep=deep
        )
        self.context.listener.planned(found)
        return found, rollout_targets

    def _end(
        self, last: Plan, *, timed_out: bool = False, stopped: bool = False, superseded_by: str | None = None
    ) -> RunResult:
        return RunResult(last, tuple(self.executor.failures.values()), timed_out, stopped, superseded_by)

    def _pause(self, wakes: Sequence[datetime], options: RunOptions) -> float:
        moments = [*wakes, *([options.until] if options.until else [])]
        nearest = min(((moment - self.context.clock()).total_seconds() for moment in moments), default=_TICK_SECONDS)
        return max(0.01, min(_TICK_SECONDS, nearest))

    def _idle(self, desired: Snapshot, last: Plan, wakes: Sequence[datetime]) -> None:
        """Wait for a wake-up, a report, another process's write, or the next moment that is due."""
        moments = [*wakes, *_openings(desired, last, self.context.clock())]
        moments.append(self.context.clock() + desired.reconciliation().drift_interval)
        if (again := self.backoff.next()) is not None:
            moments.append(again)
        deadline = Deadline(min(moments), self.context.clock)
        version, throttle = self.context.reader.version(), PollThrottle()
        while not self._wake.is_set() and (left := deadline.left()) > 0:
            self._wake.wait(min(left, _POLL_SECONDS))
            self.context.listener.waiting()
            self._renew_lease()
            if self.context.reader.version() != version or (throttle.due() and self._has_reports(throttle)):
                return

    def _has_reports(self, throttle: PollThrottle) -> bool:
        with throttle.measure():
            known = self.context.reader.report_sequences()
            return bool(self.delivery.in_inbox(known) or self.delivery.observe(known))

    def _wait_after_failure(self, desired: Snapshot, error: EdgewrightError) -> None:
        """Back off after a pass that failed: a share, a database or a repository did not answer.

        A newer revision ends the wait, for it may be the remedy.
        """
        until = self.backoff.failed(_WHOLE, error)
        self.context.listener.pass_failed(error, until)
        try:
            self.status_writer.write_failure(desired, error)
        except LeaseLost:
            raise
        except EdgewrightError:
            pass  # it is the store that does not answer; the listener has been told
        deadline = Deadline(until, self.context.clock)
        while not self._stop.is_set() and (left := deadline.left()) > 0:
            self._wake.wait(min(left, _POLL_SECONDS))
            self.context.listener.waiting()
            if self._wake.is_set() and not self._stop.is_set():
                self._wake.clear()
                if self._is_superseded(desired):
                    return

    def _is_superseded(self, desired: Snapshot) -> bool:
        try:
            return self.source.revision() != desired.revision
        except LeaseLost:
            raise
        except EdgewrightError:
            return False


def _rollouts(desired: Snapshot) -> frozenset[Address]:
    return frozenset(Address("rollout", rollout.metadata.name) for rollout in desired.rollouts())


def _wiring(desired: Snapshot) -> object:
    """Return the part of a revision that a run is wired with: the delivery of its environment."""
    repository = desired.repository()
    if repository is None:
        return AgentDelivery()
    environment = repository.spec.environment(desired.environment)
    return (environment and environment.delivery) or repository.spec.delivery


def _openings(desired: Snapshot, last: Plan, now: datetime) -> list[datetime]:
    """List the times at which the windows open that rollouts wait for."""
    waiting = {note.address.name for note in last.notes if note.reason == "OutsideWindow"}
    return [
        opens
        for rollout in desired.rollouts()
        if rollout.metadata.name in waiting and rollout.spec.window is not None
        if (opens := in_window(rollout.spec.window, now).until) is not None
    ]
