"""Carries a plan out, step by step, as far as it is ready: the hands of ``reconciler``.

A step that fails stands in nobody else's way. In a run that ends, it is given up; in one that stands, tried again
after a while.
"""

from collections.abc import Callable, Mapping, Sequence
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
from edgewright.core.planning.rollouts import Aim
from edgewright.core.snapshot import Snapshot
from edgewright.errors import BlobCorrupt, Cancelled, EdgewrightError, LeaseLost, StepFailed
from edgewright.ports import StateReader, StateWriter
from edgewright.reconcile.backoff import Backoff
from edgewright.reconcile.build_pool import BuildPool
from edgewright.reconcile.journal import Journal
from edgewright.reconcile.listener import Listener
from edgewright.reconcile.publisher import Publisher
from edgewright.reconcile.repairs import Repairer
from edgewright.reconcile.rollouts import RolloutDriver
from edgewright.reconcile.run import Failure, RunOptions

_ROLLING = StartRollout | AdvanceWave | Rollback


@dataclass
class PlanExecutor:
    """One run's hands, and what they tried in vain."""

    reader: StateReader
    writer: StateWriter
    publisher: Publisher
    repairer: Repairer
    roller: RolloutDriver
    books: Journal
    listener: Listener
    backoff: Backoff
    clock: Callable[[], datetime]
    failures: dict[str, Failure] = field(default_factory=dict)
    """By what failed: a step's id, a rollout's address, or what was attempted beside the steps."""
    touched: set[Address] = field(default_factory=set)
    """Rollouts whose devices have spoken since they were looked at last."""

    def act(
        self, desired: Snapshot, current: Plan, aims: Mapping[Address, Aim], terms: RunOptions, workers: BuildPool
    ) -> tuple[list[datetime], bool]:
        """Do what is ready, and offer the workers what is theirs.

        Returns:
            The moments at which rollouts want to be looked at again, and whether anything was done; what workers do
            does not count, for they say so themselves.

        Raises:
            LeaseLost: Another process took over.
        """
        if terms.standing and desired.reconciliation().suspend:
            workers.cancel_all_but(set())
            return [], False
        self.touched |= self.reader.requested_controls().keys()
        targets: set[Address] = set()
        held: set[Address] = set()
        builds: list[BuildStep] = []
        publishes: list[Publish] = []
        acted = False
        for step in current.steps:
            if step.needs or not _may(step, terms) or self._given_up(step, terms):
                held.add(step.address)
                continue
            match step:
                case StartRollout() | AdvanceWave() | Rollback():
                    targets.add(step.address)
                case Publish():
                    publishes.append(step)
                case Repair():
                    if step.drifts:
                        acted |= self._guard(step, desired, partial(self.repairer.repair, desired, step))
                    self.touched.add(step.address)
                case Prune():
                    acted |= self._guard(step, desired, partial(self._prune, step))
                case _:
                    builds.append(step)
        workers.offer(desired, builds)
        self._publish(publishes, desired)
        acted |= bool(publishes or targets or self.touched)
        wakes = self._roll(desired, aims, targets, held)
        self.attempt("assign", self.publisher.flush_assignments)
        return wakes, acted

    def hopeful(self, current: Plan, terms: RunOptions) -> bool:
        """Whether time or reports alone may bring this plan further."""
        return any(
            isinstance(step, _ROLLING | Repair)
            and _may(step, terms)
            and not (self._given_up(step, terms) or step.needs)
            for step in current.steps
        )

    def attempt(self, what: str, act: Callable[[], object]) -> None:
        """Do something that stands in nobody's way when it fails: the next pass or run attempts it again.

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

    def settled(self, step: BuildStep, desired: Snapshot, result: Artifact | EdgewrightError | None) -> None:
        """Write down how a build step ended (None: others have done it). Called from its thread.

        Raises:
            LeaseLost: Another process took over.
        """
        match result:
            case Artifact():
                self.backoff.succeeded(step_id(step))
                message = f"{step_id(step)} done in {result.seconds:.1f} s"
                self.books.event("StepDone", step.address, message, desired.revision)
            case None:
                self.backoff.succeeded(step_id(step))
            case Cancelled():
                message = f"{step_id(step)} stopped; it can resume"
                self.books.event("StepCancelled", step.address, message, desired.revision)
            case _:
                if isinstance(result, StepFailed):
                    self.writer.record_failure(step.fingerprint or "", result.message)
                self._fail(step, result, desired)

    def forget_failures(self) -> None:
        """Try everything anew: what is desired has changed."""
        self.failures.clear()
        self.backoff.clear()

    def _given_up(self, step: Step, terms: RunOptions) -> bool:
        """Whether this run has tried a step in vain; a rollout is given up whole. A standing run tries again later."""
        key = str(step.address) if isinstance(step, _ROLLING) else step_id(step)
        if key in self.failures and terms.standing and not self.backoff.is_waiting(key):
            del self.failures[key]
        return key in self.failures

    def _fail(self, step: Step, error: EdgewrightError, desired: Snapshot) -> None:
        self.failures[step_id(step)] = Failure(step_id(step), error)
        self.backoff.failed(step_id(step), error)
        self.listener.failed(step, error, None)
        message = f"{step_id(step)}: {error.message}"
        self.books.event("StepFailed", step.address, message, desired.revision, once=True)

    def _guard(self, step: Step, desired: Snapshot, act: Callable[[], None]) -> bool:
        """Run a short step here; one that fails stands in nobody else's way."""
        self.listener.started(step)
        begun = self.clock()
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
                self.listener.done(step, (self.clock() - begun).total_seconds())
            case BlobCorrupt():
                self.listener.failed(step, error, 0.0)
            case _:
                self._fail(step, error, desired)

    def _publish(self, steps: Sequence[Publish], desired: Snapshot) -> None:
        """Publish the packages that are ready together, for each signing names all that were ever published."""
        if not steps:
            return
        begun = self.clock()
        for step in steps:
            self.listener.started(step)
        recorded = self.reader.artifacts([step.package_fingerprint or "" for step in steps])
        found = [recorded.get(step.package_fingerprint or "") for step in steps]
        refused = self.publisher.publish(artifact for artifact in found if artifact is not None)
        for step, artifact in zip(steps, found, strict=True):
            error = refused.get(artifact.digest) if artifact is not None else _lost(step)
            self._ended(step, desired, error, begun)

    def _prune(self, step: Prune) -> None:
        kept = {address: disabled for address, disabled in self.reader.inventory().items() if address != step.address}
        self.writer.set_inventory(kept)
        self.books.event("Pruned", step.address, "no longer declared; devices keep what they run", "")

    # ── rollouts ──────────────────────────────────────────────────────────────────────────────────────────────

    def _roll(
        self, desired: Snapshot, aims: Mapping[Address, Aim], targets: set[Address], held: set[Address]
    ) -> list[datetime]:
        """Advance rollouts that have a step, and those whose devices spoke; held ones only in what is under way."""
        spoken, self.touched = self.touched, set()
        wakes = []
        for address, aim in aims.items():
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
            self.backoff.succeeded(str(address))
            if wake is not None:
                wakes.append(wake)
        return wakes

    def _stuck(self, desired: Snapshot, address: Address, aim: Aim, error: EdgewrightError) -> None:
        """Give a rollout up for this run, and until its key changes where it cannot succeed as declared."""
        self.failures[str(address)] = Failure(str(address), error)
        self.backoff.failed(str(address), error)
        if isinstance(error, StepFailed) and aim.key is not None:
            self.writer.record_failure(aim.key, error.message)
        self.books.event("RolloutStuck", address, error.message, desired.revision, once=True)


def _lost(step: Publish) -> StepFailed:
    return StepFailed(f"the package of {step.address} is not there", hint="apply again")


def _may(step: Step, terms: RunOptions) -> bool:
    """Whether a run was allowed a step: what follows from starting a rollout was allowed with it."""
    if terms.allowed is None or step_id(step) in terms.allowed:
        return True
    return isinstance(step, AdvanceWave | Rollback) and f"start-rollout {step.address}" in terms.allowed
