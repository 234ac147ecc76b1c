"""Journal of a run: history, managed resources, intents that a crashed run left open. Used by ``reconciler``."""

from dataclasses import dataclass, field

from edgewright.core.address import Address
from edgewright.core.config_drift import CONFIG_DRIFTED
from edgewright.core.fleet.presence import ReceivedReport
from edgewright.core.planning.plan import Plan
from edgewright.core.rollout.state import DeviceState
from edgewright.core.snapshot import Snapshot
from edgewright.ports import DeliveryReader, Event
from edgewright.reconcile.builds import BuildRunner
from edgewright.reconcile.run import RunContext
from edgewright_schemas.base import PRUNE_ANNOTATION


@dataclass(frozen=True, slots=True)
class Journal:
    """Writes what a run does and finds to the state store."""

    context: RunContext
    delivery: DeliveryReader
    recorded: dict[Address, set[tuple[str, str]]] = field(default_factory=dict)
    """Notes (reason, message) recorded of each resource that is blocked: a pass may see one of several only."""

    def event(self, reason: str, address: Address, message: str, revision: str, *, once: bool = False) -> None:
        """Record an event in history; with ``once``, not if it repeats the resource's newest event."""
        if once:
            before = self.context.reader.events(limit=1, address=str(address))
            if before and (before[0].reason, before[0].message) == (reason, message):
                return
        self.context.record([Event(self.context.clock(), reason, str(address), message, {}, revision)])

    def take_reports(self, desired: Snapshot) -> set[Address]:
        """Store new reports of devices, and return the rollouts that they may concern."""
        known, now = self.context.reader.report_sequences(), self.context.clock()
        devices = {*self.delivery.in_inbox(known)}
        if devices:
            self.context.writer.take_inbox(devices, now)
            known = self.context.reader.report_sequences()
        if fresh := self.delivery.observe(known):
            self.context.writer.record_reports([ReceivedReport.stamp(report, now) for report in fresh], now)
            devices |= {report.device for report in fresh}
        if not devices:
            return set()
        assigned = self.context.reader.assignments(devices)
        models = {model.model for entry in assigned.values() for model in entry.assignment.models}
        waiting = self.context.reader.rollout_summaries() if len(assigned) < len(devices) else {}
        touched = set()
        for rollout in desired.rollouts():
            address = Address("rollout", rollout.metadata.name)
            summary = waiting.get(address)
            if rollout.spec.model in models or (summary and summary.counts.get(DeviceState.DEFERRED)):
                touched.add(address)
        return touched

    def close_intents(self, build_runner: BuildRunner) -> None:
        """Close intents that a crashed run or a failed step left open; called while no step runs.

        An intent whose effect is there is done. Any other is interrupted, and planned anew if it is still wanted.
        """
        intents = self.context.reader.open_intents()
        if not intents:
            return
        recorded = self.context.reader.artifacts()
        published = self.delivery.published()
        for intent in intents:
            subject = intent.name.partition(":")[2]
            done = subject in (published if intent.action == "publish" else recorded)
            if done and intent.action != "publish":
                build_runner.clean_up(subject)
            self.context.writer.finish(intent.name, "done" if done else "interrupted")

    def settle(self, desired: Snapshot, last: Plan) -> None:
        """Record the managed resources, and once each what blocks them."""
        blocking = [
            note
            for note in last.notes
            if note.severity == "blocked" or (note.severity, note.reason) == ("warning", CONFIG_DRIFTED)
        ]
        for address in self.recorded.keys() - {note.address for note in blocking}:
            del self.recorded[address]
        for note in blocking:
            recorded = self.recorded.setdefault(note.address, set())
            if (note.reason, note.message) not in recorded:
                recorded.add((note.reason, note.message))
                self.event(note.reason, note.address, note.message, desired.revision, once=True)
        declared = {
            address: resource.document.metadata.annotations.get(PRUNE_ANNOTATION) == "disabled"
            for address, resource in desired.resources.items()
        }
        managed = self.context.reader.managed()
        if managed != {**managed, **declared}:
            self.context.writer.set_managed({**managed, **declared})
        if self.context.reader.last_revision() != desired.revision:
            self.context.writer.set_last_revision(desired.revision)
