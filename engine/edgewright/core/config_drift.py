"""Config drift: differences that arise after a run had converged. Pure; called by ``reconcile.drift_scan``.

Devices are compared only where no rollout is at work: a rollout that is under way judges its own devices. What an
agent puts right by itself is told apart from what the engine has to do, and that from what only a person can.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from edgewright.core.address import Address
from edgewright.core.rollout.devices import (
    CONFIG_DRIFTED,
    RETURN_FAILED,
    VERIFICATION_LOST,
    is_config_drift,
    same_release,
)
from edgewright.core.rollout.state import ENDED, IN_FLIGHT, PROVED, DeviceProgress, DeviceState, RolloutState
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.messages import Assignment, ModelAssignment, ModelReport, Report
from edgewright_wire.messages import Phase as DevicePhase

TRY_AGAIN = timedelta(hours=1)
"""How long a device whose repair failed is left alone before the next attempt."""
__all__ = [
    "CONFIG_DRIFTED",
    "TRY_AGAIN",
    "ConfigDrift",
    "DriftInputs",
    "DriftRollout",
    "DriftSubject",
    "RecordedAssignment",
    "Remedy",
    "RepositoryFault",
    "RepositoryInspection",
    "describe_drift",
    "describe_drifts",
    "find_config_drift",
    "is_config_drift",
]
_CREDIBLE = 1_000_000
"""So many versions beyond its newest assignment, what a device says of itself is not followed."""
_AT_WORK = frozenset({DevicePhase.FETCHING, DevicePhase.STAGED, DevicePhase.PROBING})


class DriftSubject(StrEnum):
    """Kind of thing that drifted."""

    DEVICE = "device"
    FILE = "file"
    """A published file: of a package, a configuration, or metadata."""
    BLOB = "blob"
    ASSIGNMENT = "assignment"
    """What the repository says a device should run."""


class Remedy(StrEnum):
    """Action that repairs a drift."""

    ASSIGN = "assign"
    """The same assignment again, with a higher version."""
    WRITE = "write"
    """The assignment or configuration as it is, published again."""
    PUBLISH = "publish"
    """The package, published again."""
    REBUILD = "rebuild"
    """The plan's own build steps."""
    UNDER_WAY = "under-way"
    """It has been repaired; the device has not shown it yet."""
    ITSELF = "itself"
    """The device alone."""
    PERSON = "person"
    """Nothing that the engine may do; ``detail`` says what helps."""


@dataclass(frozen=True, slots=True)
class ConfigDrift:
    """One thing that is not what it should be."""

    subject: DriftSubject
    name: str
    """The device, the file's path below the repository, or the blob's name in its artifact."""
    address: Address
    field: str
    expected: str | None
    found: str | None
    remedy: Remedy
    detail: str = ""
    key: str = ""
    """What the remedy needs: the package's, configuration's or artifact's digest or fingerprint."""
    not_before: datetime | None = None
    """When the remedy may be tried; None: now."""


@dataclass(frozen=True, slots=True)
class RepositoryFault:
    """One published file that is not what the repository's metadata says, or metadata that does not hold."""

    kind: str
    """``package``, ``assignment``, ``configuration`` or ``metadata``."""
    name: str
    """The package's digest, the device, the configuration's digest, or the metadata's role."""
    path: str
    """Below the repository."""
    expected: str
    found: str | None
    """None: nothing is there."""


@dataclass(frozen=True, slots=True)
class RepositoryInspection:
    """Result of a full scan of a published repository."""

    assigned: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Version and digest of the assignments it names, by device."""
    flaws: tuple[RepositoryFault, ...] = ()

    @property
    def trusted(self) -> bool:
        """True when its metadata is valid, so that the rest of it can be relied on."""
        return all(flaw.kind != "metadata" for flaw in self.flaws)


@dataclass(frozen=True, slots=True)
class RecordedAssignment:
    """Assignment of a device as the state store records it."""

    assignment: Assignment
    published: bool


@dataclass(frozen=True, slots=True)
class DriftRollout:
    """One rollout, as drift is judged by."""

    model: str
    state: RolloutState
    held: str = ""
    """Why nothing is assigned in it now, in words; empty when something may be."""


@dataclass(frozen=True, slots=True)
class DriftInputs:
    """Input of ``find_config_drift``: recorded state, reports and the scan of the repository."""

    repository: Address
    """What drift belongs to that no other resource does."""
    rollouts: Mapping[Address, DriftRollout] = field(default_factory=dict)
    assignments: Mapping[str, RecordedAssignment] = field(default_factory=dict)
    reports: Mapping[str, Report] = field(default_factory=dict)
    fleets: Mapping[str, Address] = field(default_factory=dict)
    """The fleet of each device."""
    packages: Mapping[str, tuple[Address, str]] = field(default_factory=dict)
    """Recorded packages: the model and the artifact's fingerprint, by digest."""
    inspection: RepositoryInspection = RepositoryInspection()


def find_config_drift(facts: DriftInputs) -> tuple[ConfigDrift, ...]:
    """List everything that has drifted, in a stable order."""
    found = [*_devices(facts), *_strangers(facts), *_assignments(facts), *_files(facts)]
    return tuple(sorted(found, key=lambda d: (d.address, d.subject, d.name, d.field)))


# ── devices ───────────────────────────────────────────────────────────────────────────────────────────────────


def _devices(facts: DriftInputs) -> Iterator[ConfigDrift]:
    for address, view in facts.rollouts.items():
        if view.state.phase not in ENDED:
            continue
        rejected = {rejection.release for rejection in view.state.rejected}
        for device, progress in view.state.devices.items():
            report, entry = facts.reports.get(device), facts.assignments.get(device)
            if report is not None and entry is not None:
                drift = _device(address, view, device, progress, entry.assignment, report)
                if drift is not None and not (drift.field == "assignment" and _is_newer(facts, device)):
                    yield _allowed(drift, view, progress, rejected)


def _is_newer(facts: DriftInputs, device: str) -> bool:
    """Return whether the repository is ahead of the state store; that is reported once, as such."""
    there = facts.inspection.assigned.get(device)
    return there is not None and there[0] > facts.assignments[device].assignment.version


def _device(
    address: Address, view: DriftRollout, device: str, progress: DeviceProgress, assignment: Assignment, report: Report
) -> ConfigDrift | None:
    """Compare one device's newest report with its assignment."""
    wanted = next((model for model in assignment.models if model.model == view.model), None)
    fingerprint = progress.release.fingerprint if progress.release else None
    if fingerprint != (wanted.release if wanted else None):
        return None  # something else is in charge of it
    return _of_member(address, view, device, progress, assignment, report, wanted)


def _of_member(
    address: Address,
    view: DriftRollout,
    device: str,
    progress: DeviceProgress,
    assignment: Assignment,
    report: Report,
    wanted: ModelAssignment | None,
) -> ConfigDrift | None:
    said = report.model(view.model)
    drift = ConfigDrift(DriftSubject.DEVICE, device, address, "package", None, None, Remedy.ASSIGN)
    if progress.state in IN_FLIGHT and is_config_drift(progress.reason):
        package, active = wanted.package.digest if wanted else None, said.active if said else None
        detail = f"assigned again as version {assignment.version}"
        return replace(drift, expected=package, found=active, remedy=Remedy.UNDER_WAY, detail=detail)
    if not _compared(progress):
        return None
    if report.assignment_version > assignment.version:
        newest, taken = f"version {assignment.version}", f"version {report.assignment_version}"
        drift = replace(drift, field="assignment", expected=newest, found=taken)
        if report.assignment_version > assignment.version + _CREDIBLE:
            return replace(drift, remedy=Remedy.PERSON, detail="nobody ever assigned so many: look at the device")
        return drift
    difference = _difference(wanted.release, wanted.package.digest, said) if wanted else _left_over(said)
    if difference is None:
        return None
    name, expected, found = difference
    remedy, detail = _remedy(wanted is not None, assignment, report, said)
    return replace(drift, field=name, expected=expected, found=found, remedy=remedy, detail=detail)


def _remedy(wanted: bool, assignment: Assignment, report: Report, said: ModelReport | None) -> tuple[Remedy, str]:
    """Choose the remedy: what the agent repairs by itself needs no new assignment."""
    if report.assignment_version < assignment.version:
        return Remedy.ITSELF, f"it has still to take up assignment {assignment.version}"
    if said is not None and said.phase in _AT_WORK:
        return Remedy.ITSELF, f"it is {said.phase}"
    if not wanted:
        return Remedy.ITSELF, "its agent removes what is not assigned"
    return Remedy.ASSIGN, ": ".join(part for part in (said.reason, said.message) if part) if said else ""


def _compared(progress: DeviceProgress) -> bool:
    """Return whether a device has reached its release: it verified the release, or was sent back to it."""
    if progress.state in PROVED | {DeviceState.ROLLED_BACK}:
        return True
    lost = progress.reason in {VERIFICATION_LOST, RETURN_FAILED} or same_release(progress.verified, progress.release)
    return progress.state is DeviceState.FAILED and lost


def _difference(release: str, package: str, said: ModelReport | None) -> tuple[str, str | None, str | None] | None:
    if said is None:
        return "package", package, None
    if said.active != package:
        return "package", package, said.active
    if said.active_release != release:
        return "release", release, said.active_release
    if said.phase is DevicePhase.INSTALLED:
        return None  # its class proves no more, as its rollout judged
    return None if said.verified == package else ("verified", package, said.verified)


def _left_over(said: ModelReport | None) -> tuple[str, str | None, str | None] | None:
    return None if said is None or said.active is None else ("package", None, said.active)


def _allowed(drift: ConfigDrift, view: DriftRollout, progress: DeviceProgress, rejected: set[str]) -> ConfigDrift:
    """Leave to a person what the rollout's state forbids, and to later what was tried a while ago."""
    if drift.remedy is not Remedy.ASSIGN:
        return drift
    release = progress.release
    if view.held:
        return replace(drift, remedy=Remedy.PERSON, detail=view.held)
    if release and release.fingerprint in rejected and not same_release(release, view.state.proven):
        never = "what it is assigned was rejected, and is never assigned again by itself"
        return replace(drift, remedy=Remedy.PERSON, detail=never)
    if progress.state is DeviceState.FAILED and progress.reason != VERIFICATION_LOST and progress.assigned_at:
        return replace(drift, detail=drift.detail or progress.message, not_before=progress.assigned_at + TRY_AGAIN)
    return drift


def _strangers(facts: DriftInputs) -> Iterator[ConfigDrift]:
    """Find models that run on devices of a fleet without ever having been assigned to them."""
    under_way = {view.model for view in facts.rollouts.values() if view.state.phase not in ENDED}
    for device, report in facts.reports.items():
        address = facts.fleets.get(device)
        if address is None or not report.models or device in facts.assignments:
            continue
        for said in report.models:
            if said.active is not None and said.model not in under_way:
                detail = "nobody assigned it; nothing is taken off a device that nobody put there"
                name = f"model {said.model}"
                yield ConfigDrift(DriftSubject.DEVICE, device, address, name, None, said.active, Remedy.PERSON, detail)


# ── the repository ────────────────────────────────────────────────────────────────────────────────────────────


def _assignments(facts: DriftInputs) -> Iterator[ConfigDrift]:
    """Compare the assignments that devices can fetch with those decided."""
    if not facts.inspection.trusted:
        return
    assigned = facts.inspection.assigned
    owners = _owners(facts)
    for device, entry in facts.assignments.items():
        if not entry.published:
            continue  # it is on its way out
        version, there = entry.assignment.version, assigned.get(device)
        if there is not None and there[0] == version:
            if (content := digest_bytes(entry.assignment.to_bytes())) != there[1]:
                other = "it was signed elsewhere: find out who else uses these keys, then restore the newer state store"
                yield ConfigDrift(
                    DriftSubject.ASSIGNMENT,
                    device,
                    owners.get(device, facts.repository),
                    "assignment",
                    content,
                    there[1],
                    Remedy.PERSON,
                    other,
                )
            continue
        remedy, detail = Remedy.WRITE, ""
        if there is not None and there[0] > version:
            remedy = Remedy.PERSON
            detail = "the state store is older than the repository: restore the newer one"
        found = f"version {there[0]}" if there else None
        address = owners.get(device, facts.repository)
        yield ConfigDrift(
            DriftSubject.ASSIGNMENT, device, address, "assignment", f"version {version}", found, remedy, detail, device
        )
    for device in assigned.keys() - facts.assignments.keys():
        detail = "the state store does not know of it, so it stays: restore the newer store, or assign the device"
        found = f"version {assigned[device][0]}"
        yield ConfigDrift(
            DriftSubject.ASSIGNMENT, device, facts.repository, "assignment", None, found, Remedy.PERSON, detail, device
        )


def _files(facts: DriftInputs) -> Iterator[ConfigDrift]:
    if not facts.inspection.flaws:
        return
    owners, users = _owners(facts), _users(facts)
    for flaw in facts.inspection.flaws:
        address, remedy, detail, key = facts.repository, Remedy.PERSON, "", flaw.name
        if flaw.kind == "package":
            address, key = facts.packages.get(flaw.name, (facts.repository, ""))
            remedy = Remedy.PUBLISH if key else Remedy.PERSON
            detail = "" if key else "its artifact is not recorded any more: restore the file from a copy"
        elif flaw.kind == "assignment":
            address = owners.get(flaw.name, facts.repository)
            remedy = Remedy.WRITE if flaw.name in facts.assignments else Remedy.PERSON
        elif flaw.kind == "configuration":
            address, remedy = owners.get(users.get(flaw.name, ""), facts.repository), Remedy.WRITE
        else:
            detail = "nothing unsigned is signed again: restore the newest copy of the repository"
        field_ = "metadata" if flaw.kind == "metadata" else f"{flaw.kind} file"
        yield ConfigDrift(DriftSubject.FILE, flaw.path, address, field_, flaw.expected, flaw.found, remedy, detail, key)


def _owners(facts: DriftInputs) -> dict[str, Address]:
    """The rollout of each device; the first by name where there are several."""
    owners: dict[str, Address] = {}
    for address in sorted(facts.rollouts):
        for device in facts.rollouts[address].state.devices:
            owners.setdefault(device, address)
    return owners


def _users(facts: DriftInputs) -> dict[str, str]:
    """A device of each configuration."""
    return {
        model.config.digest: device
        for device, entry in facts.assignments.items()
        for model in entry.assignment.models
        if model.config is not None
    }


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────


def describe_drift(drift: ConfigDrift) -> str:
    """Describe a drift in one line: ``lane-7 package: expected 12ab…, found nothing``."""
    tail = f" ({drift.detail})" if drift.detail else ""
    return f"{drift.name} {drift.field}: expected {_short(drift.expected)}, found {_short(drift.found)}{tail}"


def describe_drifts(drifts: Iterable[ConfigDrift], most: int = 3) -> str:
    """Describe several drifts in one bounded line."""
    listed = list(drifts)
    more = f"; and {len(listed) - most:,} more" if len(listed) > most else ""
    return "; ".join(describe_drift(drift) for drift in listed[:most]) + more


def _short(value: str | None) -> str:
    if value is None:
        return "nothing"
    return value.removeprefix("sha256:")[:12] if value.startswith("sha256:") else value
