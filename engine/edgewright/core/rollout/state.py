"""The state of a rollout: what the store keeps and ``advance`` turns into the next one.

Plain frozen dataclasses of JSON-like values; the store (de)serialises them with pydantic's TypeAdapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class DeviceState(StrEnum):
    """State of one device in a rollout."""

    PENDING = "pending"
    """Its wave has not come, or the budget of unavailable devices is used."""
    OFFERED = "offered"
    """Assigned; the device has not taken it up yet."""
    FETCHING = "fetching"
    STAGED = "staged"
    PROBING = "probing"
    VERIFIED = "verified"
    """Active, and its golden samples passed on the device."""
    INSTALLED = "installed"
    """In place, as its update system says; its class can prove no more, and counts with that."""
    FAILED = "failed"
    RETURNING = "returning"
    """Assigned its last verified release again; not seen running it yet."""
    ROLLED_BACK = "rolledBack"
    """Runs the last verified release again (or nothing, if there was none)."""
    DEFERRED = "deferred"
    """Offline: neither success nor failure; catches up later."""
    INELIGIBLE = "ineligible"
    """Cannot take the release (device says Incompatible)."""


IN_FLIGHT = frozenset(
    {
        DeviceState.OFFERED,
        DeviceState.FETCHING,
        DeviceState.STAGED,
        DeviceState.PROBING,
        DeviceState.RETURNING,
    }
)
"""States in which a device may be unavailable; what maxUnavailable bounds."""


PROVED = frozenset({DeviceState.VERIFIED, DeviceState.INSTALLED})
"""States of devices that have shown all that their class can show; what lets a wave pass."""


class Phase(StrEnum):
    """Phase of a rollout."""

    WAITING = "waiting"
    """Before a wave, for its window; ``reason`` says until when."""
    AWAITING_APPROVAL = "awaitingApproval"
    ROLLING = "rolling"
    SOAKING = "soaking"
    PAUSED = "paused"
    """By a person, or by a failure under onFailure: pause."""
    RETURNING = "returning"
    """Halted; touched devices are going back to their last verified release."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Halted and returned; the release is rejected."""
    ABORTED = "aborted"
    """Stopped by a person and returned; the release is rejected."""


ENDED = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED})


@dataclass(frozen=True, slots=True)
class Release:
    """Release of a rollout: a package and, perhaps, a rendered configuration."""

    fingerprint: str
    """Over the package's digest and the configuration's template and values."""
    package: str
    """Digest of the package's manifest."""
    manifest_size: int
    package_size: int
    """Bytes of all layers: what a device without any of them fetches."""
    config: str | None = None
    """Digest of the configuration's inputs; None without one."""


@dataclass(frozen=True, slots=True)
class DeviceProgress:
    """One device in a rollout."""

    state: DeviceState = DeviceState.PENDING
    since: datetime | None = None
    """When it entered this state."""
    assigned_at: datetime | None = None
    """When ``release`` was assigned, or the device came back with it; its deadline counts from here. None: this
    rollout has not assigned it anything."""
    after: int = 0
    """Version of the device's newest assignment when ``release`` was assigned. A report counts only when the
    device has taken up a newer one."""
    wave: int = 0
    """Index of the wave that takes it in; -1 when none does."""
    release: Release | None = None
    """What it is assigned now."""
    confirmed: bool = False
    """The device has shown, since it was assigned ``release``, that it runs and has verified it."""
    verified: Release | None = None
    """The release it returns to: the last one it verified before the current rollout, or, once that has
    succeeded, the current one."""
    reason: str = ""
    message: str = ""
    labels_digest: str = ""
    """Of the labels its configuration was rendered with."""


class ControlAction(StrEnum):
    """Action that a person requests of a rollout."""

    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """One request of a person, until a pass carries it out or drops it."""

    action: ControlAction
    number: int
    """Counts a rollout's requests from 1, so that none is carried out twice."""
    release: str = ""
    """Fingerprint of the release it was made of."""
    wave: int = 0
    """Of an approval: waves up to this number."""


@dataclass(frozen=True, slots=True)
class Controls:
    """Requests made with ``edgewright rollout``; kept until a new release starts."""

    approved_before: int = 0
    """Waves with a number (1 is the first) up to this one are approved."""
    paused: bool = False
    """By a person, or by a failure under onFailure: pause."""
    aborted: bool = False
    accepted: tuple[str, ...] = ()
    """Devices whose failure a person accepted by resuming: they no longer halt the rollout."""
    gates_accepted: bool = False
    """A person accepted a device gate that did not pass, in the same way."""
    by_person: bool = False
    """A person asked for the pause, whatever else it was paused for."""
    taken: int = 0
    """Number of the last request that was carried out or dropped."""
    requests: tuple[ControlRequest, ...] = ()
    """Of stored requests: what was asked for, one by one; the other fields are what they would lead to. Requests of
    earlier versions have none."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A release that failed, remembered so that it is not tried again."""

    key: str
    """Over the release and the rollout's and fleet's specs: a changed spec may try again."""
    release: str
    package: str
    at: datetime
    reason: str
    device: str = ""
    message: str = ""
    """In words: how many devices failed, and what the first of them said."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Reason that a device is held back."""

    reason: str
    """One word: Conflict, …"""
    message: str = ""
    """The same in words."""
    labels_digest: str = ""
    """Of the labels it has been held back with."""
    until: datetime | None = None
    """When it takes part again by itself; None: when its reason ends."""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """One rollout, across releases."""

    release: Release | None = None
    key: str = ""
    """As in Rejection.key, for the current release."""
    phase: Phase = Phase.WAITING
    wave: int = 0
    """Index of the current wave."""
    wave_since: datetime | None = None
    """When the wave's last device was verified (soaking) or its first was assigned (rolling)."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    devices: Mapping[str, DeviceProgress] = field(default_factory=dict)
    fleet_digest: str = ""
    """Of the fleet's membership the state was computed from."""
    controls: Controls = Controls()
    proven: Release | None = None
    """The last release that succeeded: what a device that verified nothing before returns to."""
    rejected: tuple[Rejection, ...] = ()
    reason: str = ""
    message: str = ""
    waves: str = ""
    """Digest of the waves that approvals number; empty in states of earlier versions."""
    held: Mapping[str, Hold] = field(default_factory=dict)
    """Devices that are held back."""


@dataclass(frozen=True, slots=True)
class RolloutSummary:
    """Summary of a RolloutState for plans and tables, without its devices."""

    phase: Phase
    release: Release | None
    key: str
    wave: int
    counts: Mapping[DeviceState, int]
    fleet_digest: str
    rejected: tuple[Rejection, ...]
    reason: str = ""
    message: str = ""
    paused: bool = False
    approved_before: int = 0
    requested: Controls | None = None
    """What a person asked for that the rollout has not taken up yet."""


def summarize(state: RolloutState) -> RolloutSummary:
    """Count a rollout's devices by state."""
    counts: dict[DeviceState, int] = {}
    for progress in state.devices.values():
        counts[progress.state] = counts.get(progress.state, 0) + 1
    return RolloutSummary(
        phase=state.phase,
        release=state.release,
        key=state.key,
        wave=state.wave,
        counts=counts,
        fleet_digest=state.fleet_digest,
        rejected=state.rejected,
        reason=state.reason,
        message=state.message,
        paused=state.controls.paused,
        approved_before=state.controls.approved_before,
    )
