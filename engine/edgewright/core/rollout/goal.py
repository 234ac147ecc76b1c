"""Input and output of ``rollout.machine.advance``: the goal, the devices as observed, the decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from edgewright.core.fleet.routes import Proof
from edgewright.core.rollout.state import Hold, Release, RolloutState
from edgewright_schemas.rollout import RolloutSpec
from edgewright_schemas.thresholds import Gate
from edgewright_wire.messages import Phase as DevicePhase
from edgewright_wire.messages import Report


@dataclass(frozen=True, slots=True)
class Goal:
    """Goal of a rollout."""

    name: str
    """The rollout's name; with a device's id it decides the device's place in percent waves."""
    spec: RolloutSpec
    release: Release
    key: str
    """Over the release and what of the specs should start the rollout over; as in Rejection.key."""
    fleet_digest: str
    """Of the devices' ids and labels: when it changes, devices are sorted into waves again."""
    device_gates: tuple[Gate, ...] = ()
    earlier_keys: tuple[str, ...] = ()
    """Keys that earlier versions gave the same, which stored states may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """One device of the fleet, and what it last said of the rollout's model."""

    labels: Mapping[str, str]
    labels_digest: str = ""
    """When it changes and the release has a configuration, the device is assigned again."""
    device_class: str = ""
    last_seen: datetime | None = None
    """None: it never reported."""
    assignment: int = 0
    """Version of the newest assignment made for the device; 0 before the first."""
    taken: int = 0
    """Version of the assignment the device had taken up when it reported."""
    phase: DevicePhase | None = None
    """None: it said nothing of the model."""
    release: str | None = None
    """Fingerprint the phase speaks of."""
    active_release: str | None = None
    verified: bool = False
    """The active package passed its golden samples on the device."""
    proves: Proof = Proof.VERIFIED
    """What the device's class has to show."""
    reason: str = ""
    message: str = ""
    latency_p95_ms: float | None = None
    """Measured in the device's probe, in milliseconds."""
    start: str | None = None
    """Start of the agent that its newest report names."""
    held: Hold | None = None
    """Why the device keeps what it has and gives no verdict; None where it takes part."""


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """Something that happened in a rollout, for ``history``."""

    reason: str
    """One word: RolloutStarted, WaveStarted, WavePassed, DeviceVerified, DeviceFailed, RolledBack, …"""
    message: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """Decisions of one pass of a rollout."""

    state: RolloutState
    assign: tuple[tuple[str, Release | None], ...] = ()
    """New assignments by device; None takes the model off it. To be stored together with the state."""
    events: tuple[RolloutEvent, ...] = ()
    wake_at: datetime | None = None
    """When time alone changes something; None: only a report, a person or a new goal does."""


def view_device(
    model: str,
    labels: Mapping[str, str],
    *,
    report: Report | None,
    last_seen: datetime | None,
    assignment: int,
    labels_digest: str = "",
    proves: Proof = Proof.VERIFIED,
) -> DeviceView:
    """Pick what a rollout of ``model`` needs from a device's newest report.

    Args:
        model: The model's name.
        labels: The device's labels; ``class`` names its class where the report does not.
        report: Its newest report; None when it never reported.
        last_seen: When that report came in, by the engine's clock where it is known.
        assignment: Version of the newest assignment made for it; 0 before the first.
        labels_digest: Of the labels its configuration would be rendered with.
        proves: What the device's class has to show.
    """
    said = report.model(model) if report is not None else None
    device_class = (report.device_class if report is not None else "") or labels.get("class", "")
    if report is None or said is None:
        return DeviceView(
            labels=labels,
            labels_digest=labels_digest,
            device_class=device_class,
            last_seen=last_seen,
            assignment=assignment,
            proves=proves,
            taken=report.assignment_version if report is not None else 0,
            start=report.start if report is not None else None,
        )
    return DeviceView(
        labels=labels,
        labels_digest=labels_digest,
        device_class=device_class,
        last_seen=last_seen,
        assignment=assignment,
        proves=proves,
        taken=report.assignment_version,
        start=report.start,
        phase=said.phase,
        release=said.release,
        active_release=said.active_release,
        verified=said.verified is not None and said.verified == said.active,
        reason=said.reason,
        message=said.message,
        latency_p95_ms=said.probe.latency_p95_ms if said.probe is not None else None,
    )
