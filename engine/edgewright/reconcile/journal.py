"""What a run writes down: history, what is managed, what a crashed run left open. Used by ``reconciler``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from edgewright.core.address import Address
from edgewright.core.planning.plan import Plan
from edgewright.core.rollout.state import DeviceState
from edgewright.core.snapshot import Snapshot
from edgewright.ports import DeliveryReader, Event, StateReader, StateWriter
from edgewright.reconcile.builds import BuildRunner
from edgewright.reconcile.listener import Listener
from edgewright_schemas.base import PRUNE_ANNOTATION


@dataclass(frozen=True, slots=True)
class Journal:
    """Everything writing down needs."""

    reader: StateReader
    writer: StateWriter
    delivery: DeliveryReader
    listener: Listener
    clock: Callable[[], datetime]
    said: dict[Address, set[tuple[str, str]]] = field(default_factory=dict)
    """What was written of what stands in the way of each resource: a look may find one of several things only."""

    def event(self, reason: str, address: Address, message: str, revision: str, *, once: bool = False) -> None:
        """Write history, and tell the listener; ``once``: not if it is what was said of the address last."""
        if once:
            before = self.reader.events(limit=1, address=str(address))
            if before and (before[0].reason, before[0].message) == (reason, message):
                return
        event = Event(self.clock(), reason, str(address), message, {}, revision)
        self.writer.add_events([event])
        self.listener.happened(event)

    def take_reports(self, desired: Snapshot) -> set[Address]:
        """Keep what devices have said since; returns the rollouts it may concern."""
        fresh = self.delivery.observe(self.reader.report_sequences())
        if not fresh:
            return set()
        self.writer.record_reports(fresh)
        devices = [report.device for report in fresh]
        assigned = self.reader.assignments(devices)
        models = {model.model for entry in assigned.values() for model in entry.assignment.models}
        waiting = self.reader.rollout_summaries() if len(assigned) < len(devices) else {}
        touched = set()
        for rollout in desired.rollouts():
            address = Address("rollout", rollout.metadata.name)
            summary = waiting.get(address)
            if rollout.spec.model in models or (summary and summary.counts.get(DeviceState.DEFERRED)):
                touched.add(address)
        return touched

    def close_intents(self, workshop: BuildRunner) -> None:
        """Settle what a crashed run, or a failed step, left open while nothing is at work: done where its effect is
        there, else planned anew if it is still wanted.
        """
        intents = self.reader.open_intents()
        if not intents:
            return
        recorded = self.reader.artifacts()
        published = self.delivery.published()
        for intent in intents:
            subject = intent.name.partition(":")[2]
            done = subject in (published if intent.action == "publish" else recorded)
            if done and intent.action != "publish":
                workshop.tidy(subject)
            self.writer.finish(intent.name, "done" if done else "interrupted")

    def settle(self, desired: Snapshot, last: Plan) -> None:
        """Note what is under management now, and what stands in the way, once."""
        standing = [
            note
            for note in last.notes
            if note.severity == "blocked" or (note.severity, note.reason) == ("warning", "Drifted")
        ]
        for address in self.said.keys() - {note.address for note in standing}:
            del self.said[address]
        for note in standing:
            said = self.said.setdefault(note.address, set())
            if (note.reason, note.message) not in said:
                said.add((note.reason, note.message))
                self.event(note.reason, note.address, note.message, desired.revision, once=True)
        managed = {
            address: resource.document.metadata.annotations.get(PRUNE_ANNOTATION) == "disabled"
            for address, resource in desired.resources.items()
        }
        inventory = self.reader.inventory()
        if inventory != {**inventory, **managed}:
            self.writer.set_inventory({**inventory, **managed})
        if self.reader.last_revision() != desired.revision:
            self.writer.set_last_revision(desired.revision)
