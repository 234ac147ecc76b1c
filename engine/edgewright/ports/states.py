"""The state store: what is known of reality, read and written. Implemented by ``state``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState, RolloutSummary
from edgewright.core.status.conditions import Condition
from edgewright.core.status.events import Event
from edgewright_wire.messages import Assignment, Report


@dataclass(frozen=True, slots=True)
class Intent:
    """A journaled intention: ``name`` is deterministic, so a repeat finds it."""

    name: str
    action: str
    address: str
    detail: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class DeviceAssignment:
    """What is assigned to a device now."""

    assignment: Assignment
    published: bool
    """Whether the delivery has confirmed it. An unconfirmed one is published again."""


class StateReader(Protocol):
    """Reads the state store, as one environment.

    Artifacts, failures and durations are shared by all environments of a store: the same fingerprint is the same
    artifact everywhere. Everything else is the environment's own.
    """

    def artifacts(self, fingerprints: Iterable[str] | None = None) -> Mapping[str, Artifact]:
        """Artifacts by fingerprint; all of them by default, which costs in proportion to them."""
        ...

    def package(self, digest: str) -> Artifact | None:
        """The package with this digest; the oldest, where several steps made the same."""
        ...

    def champions(self) -> Mapping[str, Champion]:
        """By model name."""
        ...

    def rollout_summaries(self) -> Mapping[Address, RolloutSummary]:
        """All rollouts ever started, without their devices."""
        ...

    def rollout(self, address: Address) -> RolloutState | None:
        """One rollout whole."""
        ...

    def assignments(self, devices: Iterable[str] | None = None) -> Mapping[str, DeviceAssignment]:
        """What devices are assigned; all of them by default."""
        ...

    def unpublished(self) -> Sequence[Assignment]:
        """Assignments that are not confirmed to be out, in the devices' order."""
        ...

    def reports(self, devices: Iterable[str] | None = None) -> Mapping[str, Report]:
        """The newest report of each device that ever reported."""
        ...

    def inventory(self) -> Mapping[Address, bool]:
        """Resources under management; True where pruning is disabled."""
        ...

    def failures(self) -> Mapping[str, str]:
        """Messages of steps that failed for good, by fingerprint."""
        ...

    def open_intents(self) -> Sequence[Intent]:
        """Intents without an outcome, oldest first."""
        ...

    def plan_used(self, plan_id: str) -> datetime | None:
        """When a plan was used, if it was."""
        ...

    def events(self, *, limit: int = 100, address: str | None = None) -> Sequence[Event]:
        """Newest first."""
        ...

    def last_revision(self) -> str | None:
        """The revision applied last."""
        ...

    def enrolled(self) -> Mapping[str, Mapping[str, str]]:
        """Labels of enrolled devices, by id."""
        ...

    def requested_controls(self) -> Mapping[Address, Controls]:
        """What people asked of rollouts and the lease's holder has not taken up yet."""
        ...

    def durations(self) -> Mapping[tuple[Action, str], timedelta]:
        """How long each action took when it last ran, by action and address."""
        ...

    def version(self) -> str:
        """Name this state of the store: it changes with every write, and with nothing else."""
        ...

    def report_sequences(self) -> Mapping[str, int]:
        """The sequence of each device's newest report, without reading the reports."""
        ...

    def accepted_revision(self) -> str | None:
        """The last revision whose signatures and specs were found right: what is in force."""
        ...

    def conditions(self) -> Mapping[Address, Sequence[Condition]]:
        """How each resource stood when it was last judged; the repository itself is ``repository/<name>``."""
        ...

    def events_after(self, cursor: int, *, limit: int = 100) -> Sequence[tuple[int, Event]]:
        """Events with a higher number than ``cursor``, each with its number, oldest first."""
        ...

    def last_event(self) -> int:
        """The number of the newest event; 0 before the first."""
        ...

    def notified(self) -> Mapping[str, int]:
        """Up to which event each receiver has been told, by the receiver's name."""
        ...

    def signals(self) -> Mapping[str, int]:
        """How often each signal was given, by name. Controllers that stand by tell the active one in this way."""
        ...


class StateWriter(Protocol):
    """Writes the state store. Every method is one transaction, durable when it returns, and checks the lease.

    What comes from outside (reports, enrolments, requests for controls) may also be written without a lease:
    people and devices speak while an apply is running.

    Raises (all): LeaseLost when the fence has moved on; StateError when a lease is needed and not held, or the store
    is read-only; StorageFull when the disk is full.
    """

    def record_artifact(self, artifact: Artifact) -> None:
        """Add or replace by fingerprint; clears a failure recorded for it."""
        ...

    def forget_artifacts(self, fingerprints: Iterable[str]) -> None:
        """Remove artifacts (their blobs were found missing or corrupt, or gc takes them)."""
        ...

    def record_failure(self, fingerprint: str, message: str) -> None:
        """Remember that a step failed for good."""
        ...

    def set_champion(self, model: str, champion: Champion) -> None:
        """Name the model in production."""
        ...

    def save_rollout(self, address: Address, state: RolloutState) -> None:
        """Store a rollout and its summary."""
        ...

    def save_rollout_with_assignments(
        self,
        address: Address,
        state: RolloutState,
        assignments: Sequence[Assignment],
        events: Sequence[Event],
        champion: tuple[str, Champion] | None = None,
    ) -> None:
        """Store a rollout's decisions whole: its state, the assignments they make (unpublished), the events, and the
        model's new champion where the rollout has just succeeded.

        Raises:
            StateError: An assignment's version is not above the device's last one; nothing is stored.
        """
        ...

    def mark_published(self, versions: Mapping[str, int]) -> None:
        """Confirm that the assignments of these versions are out, by device."""
        ...

    def record_reports(self, reports: Sequence[Report]) -> None:
        """Keep each device's newest report; an older sequence is ignored unless it was sent later (a lost disk)."""
        ...

    def set_inventory(self, resources: Mapping[Address, bool]) -> None:
        """Replace the inventory."""
        ...

    def begin(self, intent: Intent) -> None:
        """Journal an intent; beginning it again is harmless."""
        ...

    def finish(self, name: str, outcome: str) -> None:
        """Close an intent: ``done``, ``failed`` or ``cancelled``."""
        ...

    def use_plan(self, plan_id: str, at: datetime) -> bool:
        """Mark a plan used; False when it was used before."""
        ...

    def add_events(self, events: Sequence[Event]) -> None:
        """Append to history."""
        ...

    def set_last_revision(self, revision: str) -> None:
        """Note the revision applied."""
        ...

    def enroll(self, devices: Mapping[str, Mapping[str, str]]) -> None:
        """Add devices, or replace the labels of known ones."""
        ...

    def unenroll(self, devices: Iterable[str]) -> None:
        """Remove devices; their assignments and reports stay, so that versions keep growing if they return."""
        ...

    def request_controls(self, address: Address, controls: Controls) -> None:
        """Ask something of a rollout; replaces what was asked before and not taken up."""
        ...

    def accept_revision(self, revision: str) -> None:
        """Note that a revision is in force."""
        ...

    def set_conditions(self, conditions: Mapping[Address, Sequence[Condition]]) -> None:
        """Replace the conditions of all resources; only what differs is written."""
        ...

    def set_notified(self, receiver: str, cursor: int) -> None:
        """Note up to which event a receiver has been told."""
        ...

    def signal(self, name: str) -> None:
        """Give a signal; needs no lease."""
        ...

    def prune_history(self, *, keep: int) -> int:
        """Forget all but the newest events, and closed intents and used plans older than those; gives how many events.

        Events that a receiver has not been told of stay.
        """
        ...

    def take_controls(self, taken: Mapping[Address, Controls]) -> None:
        """Drop requests that the rollout's stored state now holds; one asked anew since then stays."""
        ...


class Lease(Protocol):
    """One writer per environment, fenced."""

    def renew(self) -> None:
        """Extend it.

        Raises:
            LeaseLost: Another holder took over.
        """
        ...

    def release(self) -> None:
        """Give it back."""
        ...
