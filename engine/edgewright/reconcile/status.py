"""How everything stands after a pass of a standing run: conditions kept in the store, changes written to history.

Used by ``reconciler``, and by the controller while no revision is in force yet.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from edgewright.core.address import Address
from edgewright.core.planning.plan import Plan
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition, conditions_of_all, headline, standing_for
from edgewright.core.status.source import SourceStatus, repository_address, repository_conditions, transitions
from edgewright.errors import EdgewrightError
from edgewright.ports import Event, StateReader, StateWriter
from edgewright.reconcile.listener import Listener
from edgewright.reconcile.run import Failure

Conditions = dict[Address, tuple[Condition, ...]]


@dataclass
class StatusWriter:
    """Everything judging needs."""

    reader: StateReader
    writer: StateWriter
    listener: Listener
    clock: Callable[[], datetime]
    standing: Callable[[], SourceStatus] | None = None
    """Where the source of the specs stands; None: what is desired is all there is."""

    def judge(self, desired: Snapshot, last: Plan, failures: Mapping[str, Failure]) -> Conditions:
        """Derive the conditions of every resource, and keep what changed.

        Raises:
            LeaseLost, StorageFull: As ports.StateWriter.
        """
        now = self.clock()
        before = self.reader.conditions()
        suspended = desired.reconciliation().suspend
        found = conditions_of_all(
            sorted(desired.resources),
            last,
            self.reader.rollout_summaries(),
            revision=desired.revision,
            now=now,
            before=before,
        )
        troubles = _by_address(failures)
        for address, conditions in found.items():
            is_true = headline(conditions)
            if is_true is None or is_true.type != "Reconciling":
                continue
            reason, message = is_true.reason, is_true.message
            if address in troubles:
                reason, message = "Retrying", troubles[address].error.message
            elif suspended:
                reason, message = "Suspended", f"reconciliation is suspended; {message}"
            found[address] = standing_for(
                "Reconciling", reason, message, revision=desired.revision, now=now, before=before.get(address, ())
            )
        repository = desired.repository()
        address = repository_address(repository.metadata.name if repository else "")
        standing = self.standing() if self.standing else SourceStatus(desired.revision, desired.revision)
        conditions = repository_conditions(standing, now=now, before=before.get(address, ()))
        general = next((f for key, f in failures.items() if "/" not in key), None)
        if general is not None and not standing.reason:
            message = f"{general.step}: {general.error.message}"
            conditions = standing_for(
                "Reconciling",
                "Retrying",
                message,
                revision=desired.revision,
                now=now,
                before=before.get(address, ()),
            )
        found[address] = conditions
        self._keep(before, found, now, desired.revision)
        return found

    def judge_trouble(self, desired: Snapshot, error: EdgewrightError) -> None:
        """Keep that a pass could not be finished, where the store can still be written.

        Raises:
            LeaseLost, StorageFull: As ports.StateWriter.
        """
        now = self.clock()
        before = self.reader.conditions()
        repository = desired.repository()
        address = repository_address(repository.metadata.name if repository else "")
        mine = standing_for(
            "Reconciling",
            "Retrying",
            error.message,
            revision=desired.revision,
            now=now,
            before=before.get(address, ()),
        )
        self._keep(before, {**{a: tuple(c) for a, c in before.items()}, address: mine}, now, desired.revision)

    def judge_source(self, standing: SourceStatus) -> None:
        """Keep where the source stands while no revision is in force.

        Raises:
            LeaseLost, StorageFull: As ports.StateWriter.
        """
        now = self.clock()
        before = self.reader.conditions()
        address = next((a for a in before if a.kind == "repository"), repository_address())
        mine = repository_conditions(standing, now=now, before=before.get(address, ()))
        found = {**{a: tuple(c) for a, c in before.items()}, address: mine}
        self._keep(before, found, now, standing.in_force or "")

    def _keep(
        self, before: Mapping[Address, Sequence[Condition]], after: Conditions, now: datetime, revision: str
    ) -> None:
        if {address: tuple(conditions) for address, conditions in before.items()} == after:
            return
        events = [event for event in transitions(before, after, now, revision) if not self._was_said(event)]
        self.writer.set_conditions(after)
        if events:
            self.writer.add_events(events)
        for event in events:
            self.listener.happened(event)

    def _was_said(self, event: Event) -> bool:
        """Whether the same was the last thing said of a resource, by the step or the gate that it is about."""
        last = self.reader.events(limit=1, address=event.address)
        return bool(last) and (last[0].reason, last[0].message) == (event.reason, event.message)


def _by_address(failures: Mapping[str, Failure]) -> dict[Address, Failure]:
    """Find the resources that failures belong to: ``train model/reader`` or ``rollout/reader``."""
    found = {}
    for key, failure in failures.items():
        kind, slash, name = key.split(" ")[min(1, key.count(" "))].partition("/")
        if slash:
            found[Address(kind, name)] = failure
    return found
