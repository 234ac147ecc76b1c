"""The Protocols through which decisions become effects, read and write sides apart.

Drivers below ``source``, ``state``, ``artifacts``, ``build`` and ``delivery`` implement them; ``apply`` is driven
through them; ``cli`` wires. Fakes under tests/fakes implement the same Protocols and pass the same suites.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact, FileRef
from edgewright.core.observed import Champion, SourceState
from edgewright.core.rollout_state import Controls, RolloutState, RolloutSummary
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.dataset import Source as DatasetSource
from edgewright_wire.messages import Assignment, Report

# ── source ────────────────────────────────────────────────────────────────────────────────────────────────────


class SnapshotSource(Protocol):
    """Reads desired state from Git without touching anyone's work tree."""

    def revision(self) -> str:
        """Resolve what is followed to a commit (or ``worktree:<digest>``).

        Raises:
            SourceError: No repository, unborn branch, unknown ref.
        """
        ...

    def snapshot(self) -> Snapshot:
        """Read and check everything at the current revision.

        Raises:
            SpecError: With every problem found.
            SourceError: As in revision.
        """
        ...

    def materialize(self, revision: str, paths: Sequence[str], into: Path) -> None:
        """Write files and folders of a revision below ``into``; what is there already and equal stays.

        Raises:
            SourceError: The revision or a path is not there, or a link leads out of the repository.
        """
        ...

    def read(self, revision: str, path: str) -> bytes:
        """Read one file of a revision.

        Raises:
            SourceError: As in materialize.
        """
        ...


class SourceObserver(Protocol):
    """Looks at dataset sources outside Git."""

    def observe(self, source: DatasetSource) -> SourceState:
        """Digest what is there now; unchanged files are not read again."""
        ...


# ── artifacts ─────────────────────────────────────────────────────────────────────────────────────────────────


class BlobReader(Protocol):
    """Reads content-addressed blobs."""

    def has(self, digest: str) -> bool:
        """Whether a blob is stored (by name and size; contents are checked when read)."""
        ...

    def path(self, digest: str) -> Path:
        """Where the blob's bytes are. The bytes have been checked against the digest at least once by this process.

        Raises:
            BlobCorrupt: They do not match; the blob has been set aside.
            KeyError: It is not there.
        """
        ...

    def read(self, digest: str) -> bytes:
        """Read and check a blob.

        Raises:
            BlobCorrupt, KeyError: As in path.
        """
        ...


class BlobWriter(Protocol):
    """Stores content-addressed blobs durably (written beside, fsynced, renamed)."""

    def put_file(self, path: Path) -> FileRef:
        """Store a file's bytes.

        Raises:
            StorageFull: No space.
        """
        ...

    def put_bytes(self, data: bytes) -> FileRef:
        """Store bytes.

        Raises:
            StorageFull: No space.
        """
        ...


class BlobStore(BlobReader, BlobWriter, Protocol):
    """Both sides."""


# ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for ``history``."""

    at: datetime
    reason: str
    """One word: Applied, StepDone, StepFailed, GateFailed, WavePassed, DeviceVerified, RolledBack, …"""
    address: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""


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
    """Reads the state store."""

    def artifacts(self) -> Mapping[str, Artifact]:
        """All artifacts, by fingerprint."""
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


# ── build ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class BuildTask:
    """Everything a build step needs; plain JSON-able values and paths, so that it can cross to another process."""

    action: Action
    address: Address
    fingerprint: str
    spec: Mapping[str, Any]
    """The resource's spec as its kind's model dumps it (by alias)."""
    checkout: Path
    """A folder with the repository files the spec names (code, data, templates)."""
    inputs: Mapping[str, Mapping[str, Path]]
    """Files of the artifacts it reads: role → file name → path."""
    facts: Mapping[str, Mapping[str, Any]]
    """Facts of those artifacts, by role."""
    workdir: Path
    """The step's own folder; survives a crash, so that work can resume. Outputs go below ``workdir/out``."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What the planner decided: ``variant``, ``title``, …"""


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a long step."""

    address: Address
    action: Action
    done: int
    total: int
    unit: str
    """``epoch``, ``row``, ``sample``, ``byte``."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """``loss``, ``valLoss``, ``accuracy``, …"""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build step made, before it is stored."""

    digest: str
    files: Mapping[str, Path]
    facts: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


class Cancel(Protocol):
    """Tells long work to stop."""

    def is_set(self) -> bool:
        """Whether to stop now."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or the seconds pass."""
        ...


class Builder(Protocol):
    """Makes artifacts."""

    def build(self, task: BuildTask, progress: Callable[[Progress], None], cancel: Cancel) -> Built:
        """Run one build step to its end. Running it again after a crash resumes or repeats it.

        Raises:
            StepFailed: It cannot succeed as declared (UserCodeFailed: the repository's code raised).
            Transient: It may succeed when tried again.
            Cancelled: ``cancel`` was set.
        """
        ...


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ConfigRequest:
    """One device's configuration, to be rendered."""

    template: str
    """The template's text."""
    template_name: str
    """Its path, for messages."""
    values: Mapping[str, Any]
    device: str
    labels: Mapping[str, str]
    model: str
    fleet: str


class ConfigRenderer(Protocol):
    """Renders device configurations. Pure: the same request gives the same bytes."""

    def render(self, request: ConfigRequest) -> bytes:
        """Render strictly.

        Raises:
            StepFailed: The template is wrong or uses something undefined; names file and line.
        """
        ...


# ── delivery ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PackageContent:
    """A package's bytes, for publishing."""

    manifest: bytes
    digest: str
    blobs: Mapping[str, Path]
    """Config and layers, by digest."""


class DeliveryReader(Protocol):
    """What devices and their update system say."""

    def published(self) -> frozenset[str]:
        """Digests of the packages devices can fetch.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        ...

    def assigned(self) -> Mapping[str, int]:
        """Versions of the assignments devices can fetch, by device.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        ...

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        """Collect reports newer than the sequences known, by device.

        A report that cannot be read is skipped and logged; it never stops the others.
        """
        ...


class DeliveryWriter(Protocol):
    """Reaches devices. Every call may be repeated."""

    def publish(self, package: PackageContent) -> None:
        """Make a package fetchable.

        Raises:
            DeliveryError: The signing key is missing or wrong.
            DeliveryUnavailable: The repository cannot be written.
        """
        ...

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Make assignments fetchable, with the configuration blobs they name; one signing for all of them.

        Raises:
            DeliveryError, DeliveryUnavailable: As in publish.
        """
        ...

    def refresh(self) -> Sequence[str]:
        """Renew the signatures whose time is half over, as far as their keys are here; gives the roles renewed.

        Raises:
            DeliveryError, DeliveryUnavailable: As in publish.
        """
        ...

    def retire(self, devices: Sequence[str]) -> None:
        """Remove the assignments of devices that are no longer managed.

        Raises:
            DeliveryError, DeliveryUnavailable: As in publish.
        """
        ...
