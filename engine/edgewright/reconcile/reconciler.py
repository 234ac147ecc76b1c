"""Observe, plan, act, record, until reality matches: what ``apply`` runs once, and the controller all day.

Level-triggered: every pass plans anew from what is desired and observed, so it does not matter what an earlier
pass, run or process had got to. A pass starts the steps that are ready; their outcomes wake the next pass.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edgewright.core.address import Address
from edgewright.core.planning.plan import (
    Plan,
)
from edgewright.core.planning.planner import plan_with_aims
from edgewright.core.planning.rollouts import Aim
from edgewright.core.rollout.windows import in_window
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.source import SourceStatus, repository_address
from edgewright.errors import EdgewrightError, LeaseLost
from edgewright.ports import DeliveryReader, Lease, SnapshotSource, StateReader, StateWriter
from edgewright.reconcile.backoff import Backoff
from edgewright.reconcile.build_pool import BuildPool
from edgewright.reconcile.builds import BuildRunner
from edgewright.reconcile.executor import PlanExecutor
from edgewright.reconcile.journal import Journal
from edgewright.reconcile.listener import Listener
from edgewright.reconcile.observer import Observer
from edgewright.reconcile.pacing import Pace
from edgewright.reconcile.publisher import Publisher
from edgewright.reconcile.repairs import Repairer
from edgewright.reconcile.rollouts import RolloutDriver
from edgewright.reconcile.run import RunOptions, RunResult
from edgewright.reconcile.status import StatusWriter
from edgewright_schemas.environment import AgentDelivery

_TICK_SECONDS = 0.5
"""How long a pass waits for reports when nothing else can wake it."""
_POLL_SECONDS = 2.0
"""How often a standing run looks for reports, requests and other controllers' signals that nothing woke it for; for
reports less often where there are many (``pacing``)."""
_RENEW_EVERY = timedelta(seconds=10)
_WHOLE = "reconciliation"
_REFRESH = "refresh"


@dataclass
class Reconciler:
    """One run's machinery. Use once."""

    source: SnapshotSource
    reality: Observer
    reader: StateReader
    writer: StateWriter
    delivery: DeliveryReader
    workshop: BuildRunner
    publisher: Publisher
    roller: RolloutDriver
    lease: Lease
    listener: Listener
    clock: Callable[[], datetime]
    standing: Callable[[], SourceStatus] | None = None
    """Where the source of the specs stands, for the repository's own condition."""
    _wake: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _renewed: datetime | None = None

    def __post_init__(self) -> None:
        self.books = Journal(self.reader, self.writer, self.delivery, self.listener, self.clock)
        self.judge = StatusWriter(self.reader, self.writer, self.listener, self.clock, self.standing)
        self.backoff = Backoff(self.clock)
        memory = self.reality.memory
        self.actor = PlanExecutor(
            reader=self.reader,
            writer=self.writer,
            publisher=self.publisher,
            repairer=Repairer(
                self.reader, self.writer, self.delivery, self.publisher, self.listener, memory, self.clock
            ),
            roller=self.roller,
            books=self.books,
            listener=self.listener,
            backoff=self.backoff,
            clock=self.clock,
        )

    def stop(self) -> None:
        """Ask the run to end soon, leaving everything resumable. Safe from a signal handler."""
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Say that something may have changed: a commit, a report, a request. Safe from any thread."""
        self._wake.set()

    def run(self, terms: RunOptions) -> RunResult:
        """Work until reality matches, nothing more can be done, time is up, or someone stops it.

        A standing run ends only when it is stopped, or when the revision in force changes what it was wired with.

        Raises:
            SpecError, SourceError, StateError, DeliveryError: Nothing sensible can be done (not in a standing run,
                which tries again later).
            LeaseLost: Another process took over; nothing more was written.
        """
        self._workers = BuildPool(
            self.workshop, self.listener, self.actor.settled, self._wake.set, self._stop.is_set, terms.jobs
        )
        try:
            with self.publisher.delivery.attend(self._wake.set):
                return self._loop(terms)
        finally:
            self._workers.close()

    def _loop(self, terms: RunOptions) -> RunResult:
        desired = self.source.snapshot()
        if terms.revision not in {None, desired.revision}:
            return self._end(self._plan(desired, terms), superseded_by=desired.revision)
        # An earlier run may have ended between taking a report and acting on it.
        self.actor.touched = _rollouts(desired)
        begun = False
        while True:
            self._wake.clear()
            if self._workers.fatal:
                raise self._workers.fatal[0]
            if self._stop.is_set():
                return self._end(self._plan(desired, terms), stopped=True)
            try:
                self._keep_lease()
                if not begun:
                    self.books.close_intents(self.workshop)
                    self.actor.attempt(_REFRESH, self.publisher.refresh)
                    begun = True
                newer = self.source.revision()
                if newer != desired.revision:
                    fresh = self.source.snapshot() if terms.follow or terms.standing else None
                    if fresh is None or (terms.standing and _wiring(fresh) != _wiring(desired)):
                        return self._end(self._plan(desired, terms), superseded_by=newer)
                    desired = fresh
                    self._take_up(desired, terms)
                    self.actor.forget_failures()
                if (ended := self._pass(desired, terms)) is not None:
                    return ended
                self.backoff.succeeded(_WHOLE)
            except LeaseLost:
                raise
            except EdgewrightError as error:
                if not terms.standing:
                    raise
                self._trouble(desired, error)
                self.actor.touched = _rollouts(desired)  # for reports that were taken, and not acted on

    def _pass(self, desired: Snapshot, terms: RunOptions) -> RunResult | None:
        """Observe, plan and act once, then wait for what may change something; an outcome ends the run."""
        self.actor.touched |= self.books.take_reports(desired)
        due = terms.drift and self.reality.memory.due(self.clock(), desired.reconciliation().drift_interval)
        if due or (_REFRESH in self.actor.failures and not self.backoff.is_waiting(_REFRESH)):
            self.actor.attempt(_REFRESH, self.publisher.refresh)
        current, aims = self._plan_with_aims(desired, terms, deep=due)
        self._workers.cancel_all_but({getattr(step, "fingerprint", None) or "" for step in current.steps})
        wakes, acted = self.actor.act(desired, current, aims, terms, self._workers)
        # A plan of a large repository takes seconds; where the next pass comes at once, it makes one anyway.
        again = self._wake.is_set() and not terms.standing
        after = self._plan(desired, terms) if acted and not again else current
        if terms.until is not None and self.clock() >= terms.until:
            last = self._plan(desired, terms)
            return self._end(last, timed_out=not last.empty)
        busy = self._workers.busy  # asked first: what has ended by now has woken us
        still = after.steps == current.steps and not self._wake.is_set()
        settled = still and not busy and not self.actor.hopeful(after, terms)
        if settled:
            self.books.close_intents(self.workshop)
            self.books.settle(desired, after)
        if terms.standing:
            conditions = self.judge.judge(desired, after, self.actor.failures)
            self.listener.rested(desired, conditions, settled=settled)
            if still:
                self._idle(desired, after, wakes)
        elif settled:
            return self._end(after)
        elif still:
            self._wake.wait(self._pause(wakes, terms))
        return None

    def _take_up(self, desired: Snapshot, terms: RunOptions) -> None:
        if terms.standing:
            repository = desired.repository()
            address = repository_address(repository.metadata.name if repository else "")
            self.books.event(
                "RevisionTaken", address, f"revision {desired.revision[:12]} is in force", desired.revision
            )

    def _keep_lease(self) -> None:
        """Find out in time that another process has taken over, also while nothing is written.

        Raises:
            LeaseLost: It has.
        """
        now = self.clock()
        if self._renewed is None or now - self._renewed >= _RENEW_EVERY:
            self.lease.renew()
            self._renewed = now

    def _plan(self, desired: Snapshot, terms: RunOptions) -> Plan:
        return self._plan_with_aims(desired, terms)[0]

    def _plan_with_aims(
        self, desired: Snapshot, terms: RunOptions, *, deep: bool = False
    ) -> tuple[Plan, Mapping[Address, Aim]]:
        observed = self.reality.observe(desired, retry_failures=terms.retry_failures, deep=deep)
        found, aims = plan_with_aims(desired, observed, self.clock())
        self.listener.planned(found)
        return found, aims

    def _end(
        self, last: Plan, *, timed_out: bool = False, stopped: bool = False, superseded_by: str | None = None
    ) -> RunResult:
        return RunResult(last, tuple(self.actor.failures.values()), timed_out, stopped, superseded_by)

    def _pause(self, wakes: list[datetime], terms: RunOptions) -> float:
        moments = [*wakes, *([terms.until] if terms.until else [])]
        nearest = min(((moment - self.clock()).total_seconds() for moment in moments), default=_TICK_SECONDS)
        return max(0.01, min(_TICK_SECONDS, nearest))

    def _idle(self, desired: Snapshot, last: Plan, wakes: list[datetime]) -> None:
        """Wait until something may have changed: told so, a report, a write of someone else's, or a moment."""
        moments = [*wakes, *_openings(desired, last, self.clock())]
        moments.append(self.clock() + desired.reconciliation().drift_interval)
        if (again := self.backoff.next()) is not None:
            moments.append(again)
        until = min(moments)
        version, pace = self.reader.version(), Pace()
        while not self._wake.is_set() and (left := (until - self.clock()).total_seconds()) > 0:
            self._wake.wait(min(left, _POLL_SECONDS))
            self.listener.waiting()
            self._keep_lease()
            if self.reader.version() != version or (pace.due() and self._reported(pace)):
                return

    def _reported(self, pace: Pace) -> bool:
        with pace.looking():
            return bool(self.delivery.observe(self.reader.report_sequences()))

    def _trouble(self, desired: Snapshot, error: EdgewrightError) -> None:
        """Wait after a pass that could not be finished: a share, a database or a repository did not answer.

        A newer revision ends the wait, for it may be what mends it.
        """
        until = self.backoff.failed(_WHOLE, error)
        self.listener.troubled(error, until)
        try:
            self.judge.judge_trouble(desired, error)
        except LeaseLost:
            raise
        except EdgewrightError:
            pass  # the store is what does not answer; the log and the listener know
        while not self._stop.is_set() and (left := (until - self.clock()).total_seconds()) > 0:
            self._wake.wait(min(left, _POLL_SECONDS))
            self.listener.waiting()
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


def _rollouts(desired: Snapshot) -> set[Address]:
    return {Address("rollout", rollout.metadata.name) for rollout in desired.rollouts()}


def _wiring(desired: Snapshot) -> object:
    """What of a revision decides how a run is wired: where devices are reached."""
    repository = desired.repository()
    if repository is None:
        return AgentDelivery()
    environment = repository.spec.environment(desired.environment)
    return (environment and environment.delivery) or repository.spec.delivery


def _openings(desired: Snapshot, last: Plan, now: datetime) -> list[datetime]:
    """When the windows that rollouts wait for open."""
    waiting = {note.address.name for note in last.notes if note.reason == "OutsideWindow"}
    return [
        opens
        for rollout in desired.rollouts()
        if rollout.metadata.name in waiting and rollout.spec.window is not None
        if (opens := in_window(rollout.spec.window, now).until) is not None
    ]
