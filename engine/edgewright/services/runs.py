"""A run that makes reality match once: what ``apply`` does. Runs that go on are the controller's."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from edgewright.core.snapshot import Snapshot
from edgewright.errors import PlanRefused, SourceUnavailable
from edgewright.ports import Lease, SnapshotSource
from edgewright.reconcile.accepted import SIGNED, AcceptedSource, raise_for
from edgewright.reconcile.listener import Listener, NullListener
from edgewright.reconcile.run import Failure, RunOptions, RunResult
from edgewright.services.environment import Environment

__all__ = ["Failure", "Listener", "NullListener", "Run", "RunEnvironment", "RunOptions", "RunResult", "open_run"]


class Run(Protocol):
    """One run. Use once."""

    def run(self, options: RunOptions) -> RunResult:
        """Run until reality matches, or nothing more can be done now.

        Raises:
            EdgewrightError: The run cannot go on.
        """
        ...

    def stop(self) -> None:
        """Ask the run to end soon, leaving everything resumable. Safe from a signal handler."""
        ...


class RunEnvironment(Environment, Protocol):
    """An environment that can be changed."""

    @property
    def stale(self) -> SourceUnavailable | None:
        """The reason why the desired state is no newer than what was fetched before; None where it is."""
        ...

    def lease(self, purpose: str) -> AbstractContextManager[Lease]:
        """Hold the right to change things.

        Raises:
            LeaseHeld: Another process has it.
        """
        ...

    def accepted_source(self) -> AcceptedSource:
        """Return the source that takes up only revisions whose signatures and specs are right."""
        ...

    def open_run(
        self, desired: Snapshot, lease: Lease, listener: Listener, source: SnapshotSource | None = None
    ) -> Run:
        """Prepare a run; ``source`` in place of the environment's own."""
        ...


@contextmanager
def open_run(
    environment: RunEnvironment, show: Callable[[], AbstractContextManager[Listener]], *, plan_id: str | None = None
) -> Iterator[Run]:
    """Hold the lease, and prepare a run.

    Where the repository asks for signatures, only revisions that carry them are applied.

    Args:
        environment: The environment.
        show: Opens the listener; called once the lease is held.
        plan_id: The saved plan that is used up by this.

    Raises:
        LeaseHeld: Another process changes things.
        PlanRefused: The plan was used before.
        EdgewrightError: The revision is refused, or the specs are wrong.
    """
    desired = environment.source.snapshot()
    with environment.lease("edgewright apply") as lease, show() as listener:
        if plan_id is not None and not environment.state.use_plan(plan_id, environment.clock()):
            raise PlanRefused("this plan was used before", hint="look at a new one: edgewright plan --out FILE")
        source = _verified(environment, desired)
        yield environment.open_run(source.snapshot() if source else desired, lease, listener, source)


def _verified(environment: RunEnvironment, desired: Snapshot) -> AcceptedSource | None:
    """Return the source of signed revisions; None where no signatures are asked for.

    Raises:
        EdgewrightError: The present revision is refused.
    """
    repository = desired.repository()
    kept = environment.state.accepted_revision() or ""
    if (repository is None or repository.spec.verification is None) and not kept.endswith(SIGNED):
        return None
    source = environment.accepted_source()
    raise_for(source.look())
    return source
