"""The plan: data, computed by ``planner``, printed and executed as it is.

A plan says what a run may do; a run does it or less, never more. What a step's fingerprint will be is unknown
where it depends on an output that does not exist yet: such a step has ``fingerprint=None`` and says in
``unless`` when it will turn out to be unnecessary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.config_drift import ConfigDrift
from edgewright.core.gates import GateOutcome
from edgewright.core.rollout.state import Release
from edgewright_wire.canonical import digest_json

KNOWN_AFTER_APPLY = "(known after apply)"


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason of a step: a field, its old value and its new one."""

    field: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Fields common to all steps."""

    address: Address
    reasons: tuple[Reason, ...] = ()
    needs: tuple[str, ...] = ()
    """Ids of the steps of this plan that must be done first."""
    seconds: float | None = None
    """Expected duration from history; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _BuildStep(_Step):
    """A step that makes an artifact."""

    fingerprint: str | None
    """None: known after apply."""
    components: Mapping[str, str] = field(default_factory=dict)
    unless: str = ""
    """In words, what would make the step unnecessary; empty when it is certain."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the artifacts it reads, by role (``dataset``, ``model``, ``export``, …). Must be complete
    when ``fingerprint`` is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDataset(_BuildStep):
    """Read, prepare, split and check a dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Train(_BuildStep):
    """Train a model."""

    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Import(_BuildStep):
    """Fetch an existing ONNX file and check its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(_BuildStep):
    """Run the command that makes a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(_BuildStep):
    """Write ONNX variants (fp32 and, where asked, int8) and compare them with the model they came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate(_BuildStep):
    """Measure every variant through onnxruntime, overall and per slice."""

    subject: str = "candidate"
    """``candidate``, or ``champion`` to measure the model in production on the same data."""
    gates: tuple[str, ...] = ()
    """The gates its figures will be judged by, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package(_BuildStep):
    """Wrap the chosen variant, golden samples and labels as an OCI image layout."""

    variant: str | None
    """None: decided by the gates, known after apply."""
    golden: str = ""
    """How close a device must come to the golden samples, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish(_Step):
    """Make a package fetchable and sign it."""

    package: str | None
    package_fingerprint: str | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class WavePlan:
    """One wave, as far as it is known."""

    name: str
    devices: int
    bytes: int | None
    """What its devices will fetch together; None: known after apply."""
    soak_seconds: float
    approval: bool = False
    likely_bytes: int | None = None
    """Where that is not known: what it would be for a package as large as the one there is."""
    systems: Mapping[str, int] = field(default_factory=dict)
    """How many devices each update system reaches; empty where all are agents."""
    unproved: int = 0
    """Devices that can show no more than that the release is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRollout(_Step):
    """Start a rollout: a release, or new devices, in waves."""

    release: Release | None
    key: str | None
    waves: tuple[WavePlan, ...]
    config_only: bool = False
    """No device fetches model bytes: the package is the one it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceWave(_Step):
    """Go on with a rollout that is under way."""

    release: Release
    key: str
    wave: int
    waves: int
    devices: int
    """Devices that are not there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(_Step):
    """Finish returning devices to their last verified release."""

    release: Release
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune(_Step):
    """Stop managing a resource that is no longer declared. Artifacts stay until ``gc``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair(_Step):
    """Repair the config drift of a resource: publish again what was changed, assign again what was lost."""

    drifts: tuple[ConfigDrift, ...]
    """What this step acts on. ``reasons`` say the same: ``old`` is what was found, ``new`` what should be."""
    under_way: tuple[ConfigDrift, ...] = ()
    """What has been repaired already and has not shown it yet."""


BuildStep = BuildDataset | Train | Import | Command | Export | Evaluate | Package
DeliveryStep = Publish | StartRollout | AdvanceWave | Rollback | Repair | Prune
Step = BuildStep | DeliveryStep

ACTIONS: dict[type[Any], Action] = {
    BuildDataset: Action.BUILD_DATASET,
    Train: Action.TRAIN,
    Import: Action.IMPORT,
    Command: Action.COMMAND,
    Export: Action.EXPORT,
    Evaluate: Action.EVALUATE,
    Package: Action.PACKAGE,
    Publish: Action.PUBLISH,
    StartRollout: Action.START_ROLLOUT,
    AdvanceWave: Action.ADVANCE_WAVE,
    Rollback: Action.ROLLBACK,
    Repair: Action.REPAIR,
    Prune: Action.PRUNE,
}


def action_of(step: Step) -> Action:
    """Name a step's kind."""
    return ACTIONS[type(step)]


def step_id(step: Step) -> str:
    """Name a step within its plan: ``train model/reader``, ``evaluate model/reader champion``."""
    subject = " champion" if isinstance(step, Evaluate) and step.subject == "champion" else ""
    return f"{action_of(step)} {step.address}{subject}"


@dataclass(frozen=True, slots=True)
class Note:
    """A fact that changes nothing now but that people must see."""

    address: Address
    severity: str
    """``blocked`` (needs a change of the spec), ``waiting`` (needs time or a person), ``warning`` or ``info``."""
    reason: str
    """One word, as in conditions: GateFailed, ReleaseRejected, SourceMoved, AwaitingApproval, Suspended, …"""
    message: str
    gates: tuple[GateOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """Counts for the last line."""

    build: int = 0
    train: int = 0
    package: int = 0
    rollout: int = 0
    prune: int = 0
    repair: int = 0
    devices: int = 0
    bytes: int | None = 0
    """None: known after apply."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan: the steps that make reality match one revision."""

    commit: str
    observed_digest: str
    plan_id: str
    """Single use. Derived from what the plan was computed from and when."""
    steps: tuple[Step, ...]
    """In an order that respects ``needs``."""
    notes: tuple[Note, ...] = ()
    verdicts: Mapping[Address, tuple[GateOutcome, ...]] = field(default_factory=dict)
    """For each model with evidence: how its gates stand, for the variant chosen or tried last."""
    summary: PlanSummary = PlanSummary()
    depends_on_time: bool = False
    """Whether the same desired and observed state may give another plan later."""

    @property
    def empty(self) -> bool:
        """True when there is nothing to do."""
        return not self.steps


def identify(commit: str, observed_digest: str, now: datetime) -> str:
    """Name the plan that was made from these, at this time."""
    identity = {"commit": commit, "observed": observed_digest, "now": now.isoformat()}
    return digest_json(identity).removeprefix("sha256:")[:16]
