"""Puts right what has drifted. Every effect may be repeated: what is as it should be by now is left alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from edgewright.core.address import Address
from edgewright.core.config_drift import (
    CONFIG_DRIFTED,
    ConfigDrift,
    DriftInputs,
    RecordedAssignment,
    Remedy,
    describe_drift,
    find_config_drift,
)
from edgewright.core.planning.plan import Repair
from edgewright.core.rollout.repair import reassign
from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError, StepFailed
from edgewright.ports import DeliveryReader, Event, Intent
from edgewright.reconcile.drift_scan import DriftMemory, rollout_view
from edgewright.reconcile.publisher import Publisher
from edgewright.reconcile.run import RunContext
from edgewright_schemas.rollout import Rollout
from edgewright_wire.canonical import digest_json
from edgewright_wire.messages import Assignment

AT_ONCE = 500
"""How many devices, and how many files, one pass repairs of a resource; the next passes go on."""


@dataclass(frozen=True, slots=True)
class Repairer:
    """Repairs drift."""

    context: RunContext
    delivery: DeliveryReader
    publisher: Publisher
    memory: DriftMemory
    """The same as the run's Observer has."""

    def repair(self, desired: Snapshot, step: Repair) -> None:
        """Do what a step says, as far as it is still so; nothing for what only has to show itself.

        Raises:
            StepFailed: What would be published again is not stored any more.
            BlobCorrupt: Nor is it whole; it is set aside, and the next plan makes it again.
            DeliveryError, DeliveryUnavailable, StorageFull, LeaseLost: As the ports' writers.
        """
        by_remedy: dict[Remedy, list[ConfigDrift]] = {}
        for drift in step.drifts:
            by_remedy.setdefault(drift.remedy, []).append(drift)
        try:
            if published := by_remedy.get(Remedy.PUBLISH):
                self._publish(desired, published)
            if written := by_remedy.get(Remedy.WRITE):
                self._journaled(step.address, written[:AT_ONCE], desired, self._write)
            if lost := by_remedy.get(Remedy.ASSIGN):
                self._assign(desired, step.address, [drift.name for drift in lost])
        finally:
            self.memory.invalidate()

    def _publish(self, desired: Snapshot, drifts: Sequence[ConfigDrift]) -> None:
        recorded = self.context.reader.artifacts({drift.key for drift in drifts})
        found = {drift.key: recorded[drift.key] for drift in drifts if drift.key in recorded}
        refused = self.publisher.publish(found.values())
        out = {key for key, artifact in found.items() if artifact.digest not in refused}
        self._record(desired, [drift for drift in drifts if drift.key in out])
        for error in refused.values():
            raise error
        if len(found) < len({drift.key for drift in drifts}):
            raise StepFailed("a published package is not recorded any more", hint="restore its file from a copy")

    def _journaled(
        self,
        address: Address,
        drifts: Sequence[ConfigDrift],
        desired: Snapshot,
        act: Callable[[Sequence[ConfigDrift]], None],
    ) -> None:
        subject = digest_json([[drift.name, drift.key, drift.expected] for drift in drifts])
        name = f"repair:{subject}"
        detail = {"names": [drift.name for drift in drifts[:10]], "count": len(drifts)}
        self.context.writer.begin(Intent(name, "repair", str(address), detail, self.context.clock()))
        try:
            act(drifts)
        except EdgewrightError:
            self.context.writer.finish(name, "failed")
            raise
        self._record(desired, drifts)
        self.context.writer.finish(name, "done")

    def _write(self, drifts: Sequence[ConfigDrift]) -> None:
        """Publish assignments and configurations again, as they were decided."""
        lone = {drift.key for drift in drifts if drift.key.startswith("sha256:")}
        entries = self.context.reader.assignments({drift.key for drift in drifts} - lone)
        assignments = [entry.assignment for entry in entries.values()]
        wanted = lone | {m.config.digest for assignment in assignments for m in assignment.models if m.config}
        configs = {}
        for digest in sorted(wanted):
            try:
                configs[digest] = self.publisher.blobs.read(digest)
            except KeyError:
                if digest in lone:
                    raise StepFailed(
                        f"configuration {digest} is not stored any more",
                        hint="change the fleet's configuration, which renders it anew",
                    ) from None
        self.publisher.delivery.assign(assignments, configs)

    def _assign(self, desired: Snapshot, address: Address, devices: Sequence[str]) -> None:
        """Assign devices again what they are assigned, with a version they have not seen."""
        resource = desired.resources.get(address)
        state = self.context.reader.rollout(address)
        if state is None or resource is None or not isinstance(resource.document, Rollout):
            return
        names = devices[:AT_ONCE]
        entries = self.context.reader.assignments(names)
        reports = self.context.reader.reports(names)
        few = replace(state, devices={name: state.devices[name] for name in names if name in state.devices})
        facts = DriftInputs(
            repository=address,
            rollouts={address: rollout_view(resource.document, few)},
            assignments={
                name: RecordedAssignment(entry.assignment, entry.published) for name, entry in entries.items()
            },
            reports=reports,
        )
        now = self.context.clock()
        still = {
            drift.name: drift
            for drift in find_config_drift(facts)
            if drift.address == address
            and drift.remedy is Remedy.ASSIGN
            and (drift.not_before is None or drift.not_before <= now)
        }
        if not still:
            return
        published = self.delivery.assigned()
        made = []
        for name in still:
            before = entries[name].assignment
            version = 1 + max(before.version, reports[name].assignment_version, published.get(name, 0))
            made.append(Assignment(device=name, version=version, models=before.models))
        versions = {each.device: (each.version, describe_drift(still[each.device])) for each in made}
        events = [self._event(CONFIG_DRIFTED, still[each.device], desired, version=each.version) for each in made]
        self.context.writer.save_rollout_with_assignments(address, reassign(state, versions, now), made, events)
        self.context.announce(events)

    def _record(self, desired: Snapshot, drifts: Iterable[ConfigDrift]) -> None:
        self.context.record([self._event("Repaired", drift, desired) for drift in drifts])

    def _event(self, reason: str, drift: ConfigDrift, desired: Snapshot, version: int = 0) -> Event:
        data: dict[str, str | int | None] = {
            "subject": drift.subject.value,
            "name": drift.name,
            "field": drift.field,
            "expected": drift.expected,
            "found": drift.found,
        }
        if drift.subject in {"device", "assignment"}:
            data["device"] = drift.name
        then = f": assigned again as version {version}" if version else ""
        return Event(
            self.context.clock(), reason, str(drift.address), f"{describe_drift(drift)}{then}", data, desired.revision
        )
