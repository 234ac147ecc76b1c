"""Status of all resources after a pass of a continuous run: conditions in the store, their changes in history.

Used by ``reconciler``, and by the controller while no revision is accepted yet.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from edgewright.core.address import Address
from edgewright.core.planning.plan import Plan
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition, conditions_for, conditions_of_all, headline
from edgewright.core.status.source import SourceStatus, repository_address, repository_conditions, transitions
from edgewright.errors import EdgewrightError
from edgewright.ports import Event
from edgewright.reconcile.run import Failure, RunContext

Conditions = dict[Address, tuple[Condition, ...]]


@dataclass
class StatusWriter:
    """Derives conditions, and stores those that changed."""

    context: RunContext
    source_status: Callable[[], SourceStatus] | None = None
    """Gives the status of the source of the specs; None: the desired revision is all there is."""

    def write(self, desired: Snapshot, last: Plan, failures: Mapping[str, Failure]) -> Conditions:
        """Derive the conditions of every resource, and store what changed.

        Raises:
            LeaseLost, StorageFull: As ports.StateWriter.
        """
        now = self.context.clock()
        before = self.context.reader.conditions()
        suspended = desired.reconciliation().suspend
        found = conditions_of_all(
            sorted(desired.resources),
            last,
            self.context.reader.rollout_summaries(),
            revision=desired.revision,
            now=now,
            before=before,
        )
        failed = _by_address(failures)
        for address, conditions in found.items():
            is_true = headline(conditions)
            if is_true is None or is_true.type != "Reconciling":
                continue
            reason, message = is_true.reason, is_true.message
            if address in failed:
                reason, message = "Retrying", failed[address].error.message
            elif suspended:
                reason, message = "Suspended", f"reconciliation is suspended; {message}"
            found[address] = conditions_for(
                "Reconciling", reason, message, revision=desired.revision, now=now, before=before.get(address, ())
            )
        repository = desired.repository()
        address = repository_address(repository.metadata.name if repository else "")
        status = self.source_status() if self.source_status else SourceStatus(desired.revision, desired.revision)
        conditions = repository_conditions(status, now=now, before=before.get(address, ()))
        general = next((f for key, f in failures.items() if "/" not in key), None)
        if general is not None and not status.reason:
            message = f"{general.step}: {general.error.message}"
            conditions = conditions_for(
                "Reconciling",
                "Retrying",
                message,
                revision=desired.revision,
                now=now,
                before=before.get(address, ()),
            )
        found[address] = conditions
        self._store(before, found, now, desired.revision)
        return found

    def write_failure(self, desired: Snapshot, error: EdgewrightError) -> None:
        """Store that a pass failed as the repository's condition.

        Raises:
            LeaseLost, StorageFull: As ports.StateWriter.
        """
        now = self.context.clock()
        before = self.context.reader.conditions()
        repository = desired.repository()
        address = repository_address(repository.metadata.name if repository else "")
        mine = conditions_for(
            "Reconciling",
            "Retrying",
            error.message,
            revision=desired.revision,
            now=now,
            before=before.get(address, ()),
        )
        self._store(before, {**{a: tuple(c) for a, c in before.items()}, address: mine}, now, desired.revision)

    def write_source(self, status: SourceStatus) -> None:
        """Store the source's status while no revision is accepted.

        Raises:
            LeaseLost, StorageFull: As ports.StateWriter.
        """
        now = self.context.clock()
        before = self.context.reader.conditions()
        address = next((a for a in before if a.kind == "repository"), repository_address())
        mine = repository_conditions(status, now=now, before=before.get(address, ()))
        found = {**{a: tuple(c) for a, c in before.items()}, address: mine}
        self._store(before, found, now, status.in_force or "")

    def _store(
        self, before: Mapping[Address, Sequence[Condition]], after: Conditions, now: datetime, revision: str
    ) -> None:
        if {address: tuple(conditions) for address, conditions in before.items()} == after:
            return
        events = [event for event in transitions(before, after, now, revision) if not self._is_repeated(event)]
        self.context.writer.set_conditions(after)
        if events:
            self.context.record(events)

    def _is_repeated(self, event: Event) -> bool:
        """Check whether a resource's newest event says the same: the step or gate concerned has recorded it."""
        last = self.context.reader.events(limit=1, address=event.address)
        return bool(last) and (last[0].reason, last[0].message) == (event.reason, event.message)


def _by_address(failures: Mapping[str, Failure]) -> dict[Address, Failure]:
    """Find the resources that failures belong to: ``train model/reader`` or ``rollout/reader``."""
    found = {}
    for key, failure in failures.items():
        kind, slash, name = key.split(" ")[min(1, key.count(" "))].partition("/")
        if slash:
            found[Address(kind, name)] = failure
    return found
