"""Execution of a plan, step by step, as far as steps are ready. Used by ``reconciler``.

A step that fails does not block the others. A run that ends gives it up; a continuous one retries it with backoff.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.planning.plan import (
    AdvanceWave,
    BuildStep,
    Plan,
    Prune,
    Publish,
    Repair,
    Rollback,
    StartRollout,
    Step,
    step_id,
)
from edgewright.core.planning.rollouts import RolloutTarget
from edgewright.core.rollout.controls import REQUEST_DROPPED
from edgewright.core.snapshot import Snapshot
from edgewright.errors import BlobCorrupt, Cancelled, EdgewrightError, LeaseLost, StepFailed
from edgewright.reconcile.backoff import Backoff
from edgewright.reconcile.build_pool import BuildPool
from edgewright.reconcile.journal import Journal
from edgewright.reconcile.publisher import Publisher
from edgewright.reconcile.repairs import Repairer
from edgewright.reconcile.rollouts import RolloutDriver
from edgewright.reconcile.run import Failure, RunContext, RunOptions

_ROLLOUT_STEPS = StartRollout | AdvanceWave | Rollback


@dataclass(frozen=True, slots=True)
class Executed:
    """Result of executing a plan once."""

    acted: bool
    """True where something was done here; the build pool announces what it does itself."""
    wakes: tuple[datetime, ...] = ()
    """When rollouts have to be advanced again."""
    touched: frozenset[Address] = frozenset()
    """Rollouts that had news of their devices, and could not be advanced now."""


@dataclass
class PlanExecutor:
    """Executes the plans of one run, and remembers what failed in it."""

    context: RunContext
    publisher: Publisher
    repairer: Repairer
    rollout_driver: RolloutDriver
    journal: Journal
    backoff: Backoff
    failures: dict[str, Failure] = field(default_factory=dict)
    """By what failed: a step's id, a rollout's address, or what was attempted beside the steps."""

    def execute(
        self,
        desired: Snapshot,
        current: Plan,
        rollout_targets: Mapping[Address, RolloutTarget],
        options: RunOptions,
        pool: BuildPool,
        touched: Set[Address],
    ) -> Executed:
        """Execute the steps that are ready; build steps are queued in the pool.

        Args:
            desired: The accepted specs.
            current: Their plan.
            rollout_targets: Of all rollouts, as planned.
            options: Of the run.
            pool: Runs build steps.
            touched: Rollouts to advance even if the plan has no step for them: there is news of their devices.

        Raises:
            LeaseLost: Another process took over.
        """
        if options.continuous and desired.reconciliation().suspend:
            pool.cancel_all_but(set())
            return Executed(acted=False, touched=frozenset(touched))
        news = {*touched, *self.context.reader.requested_controls()}
        targets: set[Address] = set()
        held: set[Address] = set()
        builds: list[BuildStep] = []
        publishes: list[Publish] = []
        acted = False
        for step in current.steps:
            if step.needs or not _is_allowed(step, options) or self._given_up(step, options):
                held.add(step.address)
                continue
            match step:
                case StartRollout() | AdvanceWave() | Rollback():
                    targets.add(step.address)
                case Publish():
                    publishes.append(step)
                case Repair():
                    if step.drifts:
                        acted |= self._run(step, desired, partial(self.repairer.repair, desired, step))
                    news.add(step.address)
                case Prune():
                    acted |= self._run(step, desired, partial(self._prune, step))
                case _:
                    builds.append(step)
        pool.offer(desired, builds)
        self._publish(publishes, desired)
        acted |= bool(publishes or targets or news)
        self._drop_requests(desired, rollout_targets)
        wakes = self._advance_rollouts(desired, rollout_targets, targets, held, news)
        self.attempt("assign", self.publisher.flush_assignments)
        return Executed(acted, tuple(wakes))

    def can_progress(self, current: Plan, options: RunOptions) -> bool:
        """Check whether time or reports alone may bring this plan further."""
        return any(
            isinstance(step, _ROLLOUT_STEPS | Repair)
            and _is_allowed(step, options)
            and not (self._given_up(step, options) or step.needs)
            for step in current.steps
        )

    def attempt(self, what: str, act: Callable[[], object]) -> None:
        """Call a function whose failure blocks nothing; the next pass or run calls it again.

        Raises:
            LeaseLost: Another process took over.
        """
        try:
            act()
        except LeaseLost:
            raise
        except EdgewrightError as error:
            self.failures[what] = Failure(what, error)
            self.backoff.failed(what, error)
        else:
            self.failures.pop(what, None)
            self.backoff.succeeded(what)

    def finish_build(self, step: BuildStep, desired: Snapshot, result: Artifact | EdgewrightError | None) -> None:
        """Record the result of a build step (None: another run made it). Called from its thread.

        Raises:
            LeaseLost: Another process took over.
        """
        match result:
            case Artifact():
                self.backoff.succeeded(step_id(step))
                message = f"{step_id(step)} done in {result.seconds:.1f} s"
                self.journal.event("StepDone", step.address, message, desired.revision)
            case None:
                self.backoff.succeeded(step_id(step))
            case Cancelled():
                message = f"{step_id(step)} stopped; it can resume"
                self.journal.event("StepCancelled", step.address, message, desired.revision)
            case _:
                if isinstance(result, StepFailed):
                    self.context.writer.record_failure(step.fingerprint or "", result.message)
                self._fail(step, result, desired)

    def forget_failures(self) -> None:
        """Forget all failures, and retry at once: other specs are desired."""
        self.failures.clear()
        self.backoff.clear()

    def _given_up(self, step: Step, options: RunOptions) -> bool:
        """Check whether a step failed in this run and must not be retried now; a rollout is given up as a whole."""
        key = str(step.address) if isinstance(step, _ROLLOUT_STEPS) else step_id(step)
        if key in self.failures and options.continuous and not self.backoff.is_waiting(key):
            del self.failures[key]
        return key in self.failures

    def _fail(self, step: Step, error: EdgewrightError, desired: Snapshot) -> None:
        self.failures[step_id(step)] = Failure(step_id(step), error)
        self.backoff.failed(step_id(step), error)
        self.context.listener.failed(step, error, None)
        message = f"{step_id(step)}: {error.message}"
        self.journal.event("StepFailed", step.address, message, desired.revision, once=True)

    def _run(self, step: Step, desired: Snapshot, act: Callable[[], None]) -> bool:
        """Run a short step in this thread; one that fails does not block the others."""
        self.context.listener.started(step)
        begun = self.context.clock()
        failure: EdgewrightError | None = None
        try:
            act()
        except LeaseLost:
            raise
        except EdgewrightError as error:
            failure = error
        self._ended(step, desired, failure, begun)
        return True

    def _ended(self, step: Step, desired: Snapshot, error: EdgewrightError | None, begun: datetime) -> None:
        match error:
            case None:
                self.backoff.succeeded(step_id(step))
                self.context.listener.done(step, (self.context.clock() - begun).total_seconds())
            case BlobCorrupt():
                self.context.listener.failed(step, error, 0.0)
            case _:
                self._fail(step, error, desired)

    def _publish(self, steps: Sequence[Publish], desired: Snapshot) -> None:
        """Publish the packages that are ready, together: each signing names all that were ever published."""
        if not steps:
            return
        begun = self.context.clock()
        for step in steps:
            self.context.listener.started(step)
        recorded = self.context.reader.artifacts([step.package_fingerprint or "" for step in steps])
        found = [recorded.get(step.package_fingerprint or "") for step in steps]
        refused = self.publisher.publish(artifact for artifact in found if artifact is not None)
        for step, artifact in zip(steps, found, strict=True):
            error = refused.get(artifact.digest) if artifact is not None else _lost(step)
            self._ended(step, desired, error, begun)

    def _prune(self, step: Prune) -> None:
        kept = {
            address: disabled for address, disabled in self.context.reader.managed().items() if address != step.address
        }
        self.context.writer.set_managed(kept)
        self.journal.event("Pruned", step.address, "no longer declared; devices keep what they run", "")

    # ── rollouts ──────────────────────────────────────────────────────────────────────────────────────────────

    def _advance_rollouts(
        self,
        desired: Snapshot,
        rollout_targets: Mapping[Address, RolloutTarget],
        targets: set[Address],
        held: set[Address],
        news: Set[Address],
    ) -> list[datetime]:
        """Advance rollouts that have a step, and those with news; held ones only in what is under way."""
        wakes = []
        for address, target in rollout_targets.items():
            if address not in targets | news:
                continue
            planned = address in targets and address not in held
            goal = target if planned else replace(target, release=None, key=None)
            try:
                wake = self.rollout_driver.advance(desired, address, goal)
            except LeaseLost:
                raise
            except EdgewrightError as error:
                self._give_up_rollout(desired, address, target, error)
                continue
            self.backoff.succeeded(str(address))
            if wake is not None:
                wakes.append(wake)
        return wakes

    def _drop_requests(self, desired: Snapshot, rollout_targets: Mapping[Address, RolloutTarget]) -> None:
        """Drop what people asked of rollouts that are not declared any more, with an event for each request."""
        for address, requested in self.context.reader.requested_controls().items():
            if address in rollout_targets:
                continue
            for each in requested.requests or (None,):
                what = each.action if each is not None else "a request"
                message = f"{what} was requested, and is not carried out: {address} is not declared any more"
                self.journal.event(REQUEST_DROPPED, address, message, desired.revision)
            self.context.writer.take_controls({address: requested})

    def _give_up_rollout(
        self, desired: Snapshot, address: Address, target: RolloutTarget, error: EdgewrightError
    ) -> None:
        """Give up a rollout for this run; where it cannot succeed as declared, until its key changes."""
        self.failures[str(address)] = Failure(str(address), error)
        self.backoff.failed(str(address), error)
        if isinstance(error, StepFailed) and target.failure_key is not None:
            self.context.writer.record_failure(target.failure_key, error.message)
        self.journal.event("RolloutStuck", address, error.message, desired.revision, once=True)


def _lost(step: Publish) -> StepFailed:
    return StepFailed(f"the package of {step.address} is not there", hint="apply again")


def _is_allowed(step: Step, options: RunOptions) -> bool:
    """Check whether a run may take a step; a rollout's later steps are allowed with its start."""
    if options.allowed is None or step_id(step) in options.allowed:
        return True
    return isinstance(step, AdvanceWave | Rollback) and f"start-rollout {step.address}" in options.allowed
