"""Scan for drift of devices, published files and stored blobs. Used by ``observer``.

A full scan costs in proportion to the fleet, so it runs at an interval. Between two of them, a pass checks again only
what is known to have drifted.
"""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.config_drift import (
    ConfigDrift,
    DriftInputs,
    DriftRollout,
    DriftSubject,
    RecordedAssignment,
    Remedy,
    find_config_drift,
)
from edgewright.core.fleet.membership import members
from edgewright.core.rollout.state import RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.source import repository_address
from edgewright.ports import BlobReader, DeliveryReader, StateReader
from edgewright_schemas.fleet import Fleet
from edgewright_schemas.rollout import Rollout
from edgewright_wire.messages import Report

SCAN_BYTES = 256 << 20
"""Bytes of blobs, and as many of published files, that one scan of a run reads."""
_REST = 5.0
"""Pause between two rechecks, as a multiple of the time that the last one took."""


@dataclass
class DriftMemory:
    """Result of the last scan; belongs to one Observer."""

    budget: int | None = None
    """Bytes of blobs, and of published files, to read in one scan; None: all."""
    found: tuple[ConfigDrift, ...] = ()
    corrupt: set[str] = field(default_factory=set)
    """Blobs with other bytes than their digests say."""
    version: str = ""
    """Version of the state store when it was scanned."""
    rest_until: float = 0.0
    next_blob: int | None = None
    scanned_at: datetime | None = None

    def due(self, now: datetime, interval: timedelta) -> bool:
        """Check whether a full scan is due, and count it as begun."""
        if self.scanned_at is not None and abs(now - self.scanned_at) < interval:
            return False
        self.scanned_at = now
        return True

    def invalidate(self) -> None:
        """Make the next pass check again: something was repaired."""
        self.version, self.rest_until = "", 0.0


@dataclass(frozen=True, slots=True)
class DriftScan:
    """One scan."""

    state: StateReader
    blobs: BlobReader
    delivery: DeliveryReader
    memory: DriftMemory

    def full(self, desired: Snapshot) -> tuple[ConfigDrift, ...]:
        """Scan everything, reading bytes within the budget.

        Raises:
            StateError: The state store cannot be read.
            DeliveryUnavailable: The repository cannot be read.
        """
        return self._scan(desired, self.memory.budget)

    def recheck(self, desired: Snapshot) -> tuple[ConfigDrift, ...]:
        """Return what is left of the drift that the last scan found; costs nothing where it found none.

        Raises:
            StateError, DeliveryUnavailable: As in full.
        """
        memory = self.memory
        if not memory.found:
            return ()
        if time.monotonic() < memory.rest_until or self.state.version() == memory.version:
            return memory.found
        return self._scan(desired, 0)

    def _scan(self, desired: Snapshot, budget: int | None) -> tuple[ConfigDrift, ...]:
        begun = time.monotonic()
        memory = self.memory
        memory.version = self.state.version()
        recorded = self.state.artifacts()
        drift = find_config_drift(self._facts(desired, recorded, budget))
        memory.found = (*drift, *self._blobs(recorded, budget))
        memory.rest_until = time.monotonic() + _REST * (time.monotonic() - begun)
        return memory.found

    def _facts(self, desired: Snapshot, recorded: Mapping[str, Artifact], budget: int | None) -> DriftInputs:
        repository = desired.repository()
        assignments = {
            device: RecordedAssignment(entry.assignment, entry.published)
            for device, entry in self.state.assignments().items()
        }
        configs = {
            model.config.digest: model.config.size
            for entry in assignments.values()
            for model in entry.assignment.models
            if model.config is not None and entry.published
        }
        reports: dict[str, Report] = dict(self.state.reports())
        for report in self.delivery.observe(self.state.report_sequences()):
            reports[report.device] = report
        return DriftInputs(
            repository=repository_address(repository.metadata.name if repository else ""),
            rollouts=dict(self._rollouts(desired)),
            assignments=assignments,
            reports=reports,
            fleets=self._fleets(desired, reports.keys() - assignments.keys()),
            packages={a.digest: (a.address, f) for f, a in recorded.items() if a.action is Action.PACKAGE},
            inspection=self.delivery.inspect(configs, budget),
        )

    def _rollouts(self, desired: Snapshot) -> Iterator[tuple[Address, DriftRollout]]:
        for rollout in desired.rollouts():
            address = Address("rollout", rollout.metadata.name)
            state = self.state.rollout(address)
            if state is not None:
                yield address, rollout_view(rollout, state)

    def _fleets(self, desired: Snapshot, devices: Iterable[str]) -> Mapping[str, Address]:
        """Find the fleets of devices that were never assigned anything."""
        wanted = set(devices)
        if not wanted:
            return {}
        enrolled = self.state.enrolled()
        found: dict[str, Address] = {}
        for address, resource in sorted(desired.resources.items()):
            if isinstance(resource.document, Fleet):
                here = members(desired, resource.document, enrolled)
                found |= dict.fromkeys(wanted & here.keys(), address)
        return found

    def _blobs(self, recorded: Mapping[str, Artifact], budget: int | None) -> Iterator[ConfigDrift]:
        """Read stored blobs, from where the last scan ended, and yield drift of artifacts with a corrupt one."""
        memory = self.memory
        memory.corrupt = {digest for digest in memory.corrupt if self._is_corrupt(digest)}
        sizes = {file.digest: file.size for artifact in recorded.values() for file in artifact.files.values()}
        digests = sorted(sizes)
        if memory.next_blob is None:
            # A run of its own scans another part than the one before it.
            whole = budget is None or sum(sizes.values()) <= budget
            memory.next_blob = 0 if whole or not digests else random.randrange(len(digests))  # noqa: S311 - no secret
        left = budget
        for offset in range(len(digests)):
            if left is not None and left <= 0:
                memory.next_blob = (memory.next_blob + offset) % len(digests)
                break
            digest = digests[(memory.next_blob + offset) % len(digests)]
            if self._is_corrupt(digest):
                memory.corrupt.add(digest)
            left = None if left is None else left - sizes[digest]
        if not memory.corrupt:
            return
        for fingerprint, artifact in recorded.items():
            for name, file in artifact.files.items():
                if file.digest in memory.corrupt:
                    what = f"{artifact.action} blob"
                    yield ConfigDrift(
                        subject=DriftSubject.BLOB,
                        name=name,
                        address=artifact.address,
                        field=what,
                        expected=file.digest,
                        found="other bytes",
                        remedy=Remedy.REBUILD,
                        key=fingerprint,
                    )

    def _is_corrupt(self, digest: str) -> bool:
        return self.blobs.has(digest) and not self.blobs.intact(digest)


def rollout_view(rollout: Rollout, state: RolloutState) -> DriftRollout:
    """Describe a rollout as drift is judged by; what was paused or suspended is not assigned anything, nor are devices
    that are held back.
    """
    held = "the rollout is paused" if state.controls.paused else ""
    if rollout.spec.suspend:
        held = "the rollout's spec says suspend: true"
    taking_part = {device: progress for device, progress in state.devices.items() if device not in state.held}
    return DriftRollout(rollout.spec.model, replace(state, devices=taking_part), held)
