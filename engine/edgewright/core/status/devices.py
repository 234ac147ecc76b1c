"""The status of devices, whatever update system reaches them: what each is assigned, runs and has shown.

Pure; called by ``services.device_status``, rendered by ``render.device_json`` and the tables of the command line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edgewright.core.fleet.conflicts import CONFLICT
from edgewright.core.fleet.presence import clock_skew, received_at
from edgewright.core.fleet.routes import Route
from edgewright.core.rollout.devices import NEVER_SEEN, OFFLINE
from edgewright.core.rollout.state import DeviceProgress, RolloutState
from edgewright_wire.messages import Assignment, ModelReport, Report


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """One model on a device: what is assigned, and what the device reports of it."""

    model: str
    assigned: str | None
    """Digest of the package it is assigned."""
    report: ModelReport | None
    """None where the device says nothing of it."""

    @property
    def shown(self) -> str:
        """The proof that there is of the active package: ``verified``, ``installed`` or nothing."""
        if self.report is None or self.report.active is None:
            return ""
        return "verified" if self.report.verified == self.report.active else "installed"


@dataclass(frozen=True, slots=True)
class DeviceRollout:
    """One rollout that a device takes part in."""

    rollout: str
    model: DeviceModel
    progress: DeviceProgress
    reason: str
    """Why the device is not where it should be, in words."""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The status of one device of a fleet."""

    device: str
    fleet: str | None
    """None for a device that reports, and that no fleet has."""
    labels: Mapping[str, str]
    system: str | None
    """The update system that reaches it."""
    proof: str | None
    """The most that it is asked to show."""
    last_seen: datetime | None
    """When its newest report arrived, by the engine's clock."""
    clock_skew: timedelta
    """How far its clock is ahead of the engine's; zero where that is not worth a word."""
    assignment_version: int
    models: Sequence[DeviceModel]
    """In order of their names."""
    rollouts: Sequence[DeviceRollout]
    """In order of their names."""
    problem: str
    """Why it cannot be worked with, or why its report says that nothing can be done; in words."""

    @property
    def reason(self) -> str:
        """Reason the device is not at its target, in words; empty where it is, as far as is known."""
        said = next((each.reason for each in self.rollouts if each.reason), "" if self.rollouts else self.problem)
        return said or self.skew

    @property
    def skew(self) -> str:
        """The error of its clock, in words; empty where it is right, as far as is known."""
        if not self.clock_skew:
            return ""
        where = "ahead" if self.clock_skew > timedelta(0) else "behind"
        return f"ClockSkewed: its clock is {str(abs(self.clock_skew)).partition('.')[0]} {where}"


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """The status of a token that admits agents without an operator."""

    name: str
    made_at: datetime
    expires: datetime
    uses: int
    """How many agents it admits."""
    admitted: Sequence[str]
    """The devices it admitted, in order."""
    labels: Mapping[str, str]
    problem: str | None
    """Why it admits no more agents, in a word; None while it does."""
    allowed: Sequence[str] = ()
    """Labels that agents may say of themselves."""


@dataclass(frozen=True, slots=True)
class KnownDevices:
    """Known state of all devices, by device id, except what each is assigned and reports."""

    routes: Mapping[str, Route]
    rollouts: Mapping[str, tuple[str, RolloutState]]
    """Model and state of each rollout, by name."""
    problems: Mapping[str, str]
    """Why devices cannot be worked with, in words."""
    _taking_part: dict[str, list[str]] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Names of the rollouts of each device, in order: a device takes part in few of many."""

    def __post_init__(self) -> None:
        for name, (_, state) in sorted(self.rollouts.items()):
            for device in state.devices:
                self._taking_part.setdefault(device, []).append(name)

    def place(self, device: str) -> tuple[str, int]:
        """Return the first rollout by name that a device takes part in, and its wave there; empty and 0 without one."""
        name = next(iter(self._taking_part.get(device, ())), None)
        return (name, self.rollouts[name][1].devices[device].wave) if name is not None else ("", 0)

    def status(
        self,
        device: str,
        fleet: str | None,
        labels: Mapping[str, str],
        assignment: Assignment | None,
        report: Report | None,
    ) -> DeviceStatus:
        """Return the status of a device, as a member of a fleet."""
        route, problem = self.routes.get(device), self.problems.get(device, "")
        return DeviceStatus(
            device=device,
            fleet=fleet,
            labels=labels,
            system=route.delivery.type if route else None,
            proof=route.proof.value if route else None,
            last_seen=received_at(report) if report else None,
            clock_skew=clock_skew(report) if report else timedelta(0),
            assignment_version=assignment.version if assignment else 0,
            models=_models(assignment, report),
            rollouts=tuple(self._rollouts(device, assignment, report, problem)),
            problem=_reason(None, None, report, problem),
        )

    def _rollouts(
        self, device: str, assignment: Assignment | None, report: Report | None, problem: str
    ) -> list[DeviceRollout]:
        found = []
        for name in self._taking_part.get(device, ()):
            model, state = self.rollouts[name]
            progress, of_model = state.devices[device], _model(model, assignment, report)
            hold = state.held.get(device)
            reason = f"{hold.reason}: {hold.message}" if hold else ""
            reason = reason or _reason(progress, of_model.report, report, problem)
            found.append(DeviceRollout(name, of_model, progress, reason))
        return found


def _models(assignment: Assignment | None, report: Report | None) -> tuple[DeviceModel, ...]:
    names = {each.model for each in assignment.models} if assignment else set()
    names |= {each.model for each in report.models} if report else set()
    return tuple(_model(name, assignment, report) for name in sorted(names))


def _model(name: str, assignment: Assignment | None, report: Report | None) -> DeviceModel:
    assigned = (
        next((each.package.digest for each in assignment.models if each.model == name), None) if assignment else None
    )
    return DeviceModel(name, assigned, report.model(name) if report else None)


def _reason(progress: DeviceProgress | None, said: ModelReport | None, report: Report | None, problem: str) -> str:
    if problem and (progress is None or progress.reason in {"", OFFLINE, NEVER_SEEN, CONFLICT}):
        return problem  # it says why nothing was heard
    pairs = [(one.reason, one.message) for one in (progress, said, report) if one is not None and one.reason]
    return ": ".join(part for part in pairs[0] if part) if pairs else ""
