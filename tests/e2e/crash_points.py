"""Where a run can be ended: proxies of the write sides that kill their own process at the n-th call.

They implement the same Protocols as what they pass calls on to, and count every call, so that a run that is not
killed says how many points there are.
"""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact, FileRef
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState
from edgewright.core.status.conditions import Condition
from edgewright.errors import EdgewrightError
from edgewright.ports import BlobStore, DeliveryWriter, Event, Intent, PackageContent, StateWriter
from edgewright_wire.messages import Assignment, Report


class Series(StrEnum):
    """What is counted, and on which side of it the power fails."""

    BEFORE = "before"
    """Before a call of StateWriter, BlobWriter or DeliveryWriter."""
    AFTER = "after"
    """After such a call has returned, before its caller knows."""
    FILES = "files"
    """Before each operation of ``edgewright.durable``, inside those calls."""


def die() -> None:
    """End this process as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # a signal to oneself may arrive a moment later, in another thread


@dataclass
class Fuse:
    """Counts points, and blows at one of them.

    Args:
        series: What is counted.
        at: The point, from 1; None for none.
        on: Blow before the first call of this name instead, such as ``record_artifact train``.
    """

    series: Series
    at: int | None = None
    on: str | None = None
    names: list[str] = field(default_factory=list)
    """Of every point passed, in order."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Surround one call."""
        if name == self.on:
            die()
        if self.series is Series.FILES:
            yield
            return
        mine = self._count(name)
        if mine == self.at and self.series is Series.BEFORE:
            die()
        yield
        if mine == self.at:
            die()

    def file(self, operation: str, path: Path) -> None:
        """Be told of one operation; for ``durable.watched``."""
        if self.series is Series.FILES and self._count(f"{operation} {path.name}") == self.at:
            die()

    def _count(self, name: str) -> int:
        with self._lock:
            self.names.append(name)
            return len(self.names)


@dataclass(frozen=True, slots=True)
class FusedState:
    """Implements ports.StateWriter."""

    real: StateWriter
    fuse: Fuse

    def record_artifact(self, artifact: Artifact) -> None:
        with self.fuse.call(f"record_artifact {artifact.action}"):
            self.real.record_artifact(artifact)

    def forget_artifacts(self, fingerprints: Iterable[str]) -> None:
        with self.fuse.call("forget_artifacts"):
            self.real.forget_artifacts(fingerprints)

    def record_failure(self, fingerprint: str, message: str) -> None:
        with self.fuse.call("record_failure"):
            self.real.record_failure(fingerprint, message)

    def set_champion(self, model: str, champion: Champion) -> None:
        with self.fuse.call("set_champion"):
            self.real.set_champion(model, champion)

    def save_rollout(self, address: Address, state: RolloutState) -> None:
        with self.fuse.call("save_rollout"):
            self.real.save_rollout(address, state)

    def save_rollout_with_assignments(
        self,
        address: Address,
        state: RolloutState,
        assignments: Sequence[Assignment],
        events: Sequence[Event],
        champion: tuple[str, Champion] | None = None,
    ) -> None:
        with self.fuse.call(f"save_rollout_with_assignments {len(assignments)} {state.phase}"):
            self.real.save_rollout_with_assignments(address, state, assignments, events, champion)

    def mark_published(self, versions: Mapping[str, int]) -> None:
        with self.fuse.call("mark_published"):
            self.real.mark_published(versions)

    def record_reports(self, reports: Sequence[Report], now: datetime | None = None) -> None:
        with self.fuse.call("record_reports"):
            self.real.record_reports(reports, now)

    def take_inbox(self, devices: Collection[str], now: datetime | None = None) -> None:
        with self.fuse.call("take_inbox"):
            self.real.take_inbox(devices, now)

    def set_managed(self, resources: Mapping[Address, bool]) -> None:
        with self.fuse.call("set_managed"):
            self.real.set_managed(resources)

    def begin(self, intent: Intent) -> None:
        with self.fuse.call(f"begin {intent.action}"):
            self.real.begin(intent)

    def finish(self, name: str, outcome: str) -> None:
        with self.fuse.call(f"finish {name.partition(':')[0]} {outcome}"):
            self.real.finish(name, outcome)

    def use_plan(self, plan_id: str, at: datetime) -> bool:
        with self.fuse.call("use_plan"):
            return self.real.use_plan(plan_id, at)

    def add_events(self, events: Sequence[Event]) -> None:
        with self.fuse.call("add_events"):
            self.real.add_events(events)

    def set_last_revision(self, revision: str) -> None:
        with self.fuse.call("set_last_revision"):
            self.real.set_last_revision(revision)

    def enroll(self, devices: Mapping[str, Mapping[str, str]]) -> None:
        with self.fuse.call("enroll"):
            self.real.enroll(devices)

    def unenroll(self, devices: Iterable[str]) -> None:
        with self.fuse.call("unenroll"):
            self.real.unenroll(devices)

    def request_controls(self, address: Address, controls: Controls) -> None:
        with self.fuse.call("request_controls"):
            self.real.request_controls(address, controls)

    def accept_revision(self, revision: str) -> None:
        with self.fuse.call("accept_revision"):
            self.real.accept_revision(revision)

    def set_conditions(self, conditions: Mapping[Address, Sequence[Condition]]) -> None:
        with self.fuse.call("set_conditions"):
            self.real.set_conditions(conditions)

    def set_notified(self, receiver: str, cursor: int) -> None:
        with self.fuse.call("set_notified"):
            self.real.set_notified(receiver, cursor)

    def signal(self, name: str) -> None:
        with self.fuse.call("signal"):
            self.real.signal(name)

    def prune_history(self, *, keep: int) -> int:
        with self.fuse.call("prune_history"):
            return self.real.prune_history(keep=keep)

    def take_controls(self, taken: Mapping[Address, Controls]) -> None:
        with self.fuse.call("take_controls"):
            self.real.take_controls(taken)


@dataclass(frozen=True, slots=True)
class FusedBlobs:
    """Implements ports.BlobStore."""

    real: BlobStore
    fuse: Fuse

    def has(self, digest: str) -> bool:
        return self.real.has(digest)

    def intact(self, digest: str) -> bool:
        return self.real.intact(digest)

    def path(self, digest: str) -> Path:
        return self.real.path(digest)

    def read(self, digest: str) -> bytes:
        return self.real.read(digest)

    def put_file(self, path: Path) -> FileRef:
        with self.fuse.call(f"put_file {path.name}"):
            return self.real.put_file(path)

    def put_bytes(self, data: bytes) -> FileRef:
        with self.fuse.call("put_bytes"):
            return self.real.put_bytes(data)


@dataclass(frozen=True, slots=True)
class FusedDelivery:
    """Implements ports.DeliveryWriter."""

    real: DeliveryWriter
    fuse: Fuse

    def publish(self, packages: Sequence[PackageContent]) -> Mapping[str, EdgewrightError]:
        with self.fuse.call("publish"):
            return self.real.publish(packages)

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        with self.fuse.call(f"assign {len(assignments)}"):
            self.real.assign(assignments, configs)

    def cancel(self, devices: Collection[str]) -> None:
        with self.fuse.call("cancel"):
            self.real.cancel(devices)

    def attend(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        return self.real.attend(wake)

    def refresh(self) -> Sequence[str]:
        with self.fuse.call("refresh"):
            return self.real.refresh()

    def retire(self, devices: Sequence[str]) -> None:
        with self.fuse.call("retire"):
            self.real.retire(devices)
