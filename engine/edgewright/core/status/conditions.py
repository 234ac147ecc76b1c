"""Conditions of a resource: Ready, Reconciling and Stalled. Called by ``reconcile.status`` and ``services.status``.

Ready: reality matches the spec. Reconciling: it does not yet, and work or waiting goes on. Stalled: it does not, and
only a change of the spec or a person helps. ``check`` holds what must be true of the three together.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from edgewright.core.address import Address
from edgewright.core.config_drift import CONFIG_DRIFTED, is_config_drift
from edgewright.core.fleet.conflicts import CONFLICT
from edgewright.core.planning.plan import Note, Plan, Step, action_of
from edgewright.core.rollout.state import Phase, RolloutSummary

ConditionType = Literal["Ready", "Reconciling", "Stalled"]
Headline = ConditionType
"""The one that is true."""
Status = Literal["True", "False", "Unknown"]

_REASON = re.compile(r"[A-Z][A-Za-z0-9]*")
_TYPES: tuple[ConditionType, ...] = ("Ready", "Reconciling", "Stalled")
_NOT_BY_ITSELF = frozenset({"DatasetBlocked", "ModelBlocked"})
"""Notes that are no fault of the resource, and yet nothing happens to it until another one changes."""
_PROBLEM_PHASES = {Phase.FAILED: "RolloutFailed", Phase.ABORTED: "RolloutAborted"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact of a resource's status."""

    type: ConditionType
    status: Status
    reason: str
    """One word in CamelCase."""
    message: str
    observed_revision: str
    """The revision applied last, which this speaks of; empty before the first."""
    since: datetime | None = None
    """When the status last changed; None when that is not known."""


def conditions_of(
    address: Address,
    plan: Plan,
    rollout: RolloutSummary | None,
    *,
    revision: str,
    now: datetime,
    before: Sequence[Condition] = (),
) -> tuple[Condition, ...]:
    """Derive a resource's Ready, Reconciling and Stalled, in this order.

    Args:
        address: The resource.
        plan: What a run would do now; its steps and notes for the address are looked at.
        rollout: For a rollout that was ever started: where it stands.
        revision: The revision applied last; empty before the first.
        now: Aware; when a status changed that ``before`` has otherwise.
        before: The conditions derived last, from which ``since`` is kept.
    """
    notes = [note for note in plan.notes if note.address == address]
    steps = [step for step in plan.steps if step.address == address]
    return _conditions(notes, steps, rollout, revision=revision, now=now, before=before)


def conditions_of_all(
    desired_addresses: Iterable[Address],
    plan: Plan,
    rollouts: Mapping[Address, RolloutSummary],
    *,
    revision: str,
    now: datetime,
    before: Mapping[Address, Sequence[Condition]] = MappingProxyType({}),
) -> dict[Address, tuple[Condition, ...]]:
    """Derive the conditions of many resources, in their order; the plan is gone through once. As ``conditions_of``.

    The repository itself is left out: see ``standing``.
    """
    notes: dict[Address, list[Note]] = {}
    steps: dict[Address, list[Step]] = {}
    for note in plan.notes:
        notes.setdefault(note.address, []).append(note)
    for step in plan.steps:
        steps.setdefault(step.address, []).append(step)
    return {
        address: _conditions(
            notes.get(address, []),
            steps.get(address, []),
            rollouts.get(address),
            revision=revision,
            now=now,
            before=before.get(address, ()),
        )
        for address in desired_addresses
        if address.kind != "repository"
    }


_KNOWN_TO_THE_CONTROLLER = frozenset({"Retrying", "Suspended"})
"""Why work that is planned does not happen: a plan alone cannot tell."""


def as_kept(conditions: Sequence[Condition], kept: Sequence[Condition]) -> tuple[Condition, ...]:
    """Take over from the conditions a controller kept what a plan alone cannot tell: why it waits, what it found
    when it looked deep.
    """
    now, before = headline(conditions), headline(kept)
    if now is None or before is None:
        return tuple(conditions)
    if now.type == "Ready" and is_config_drift(before.reason):
        return tuple(kept)
    if now.reason != "Planned" or before.reason not in _KNOWN_TO_THE_CONTROLLER:
        return tuple(conditions)
    return tuple(replace(one, reason=before.reason, message=before.message) for one in conditions)


def headline(conditions: Sequence[Condition]) -> Condition | None:
    """Pick the one condition that is true; None where there are none."""
    return next((condition for condition in conditions if condition.status == "True"), None)


def conditions_for(
    state: ConditionType, reason: str, message: str, *, revision: str, now: datetime, before: Sequence[Condition]
) -> tuple[Condition, ...]:
    """Write the three conditions of something that is in one state; ``since`` stays where the status does."""
    known = {condition.type: condition for condition in before}
    conditions = []
    for type_ in _TYPES:
        status: Status = "True" if type_ == state else "False"
        last = known.get(type_)
        since = last.since if last is not None and last.status == status else now
        conditions.append(Condition(type_, status, reason, message, revision, since))
    return tuple(conditions)


def _conditions(
    notes: list[Note],
    steps: list[Step],
    rollout: RolloutSummary | None,
    *,
    revision: str,
    now: datetime,
    before: Sequence[Condition],
) -> tuple[Condition, ...]:
    stalled, reason, message = _standing(notes, steps, rollout)
    state: ConditionType = "Stalled" if stalled else "Reconciling"
    if not reason:
        state = "Ready"
        reason, message = _ready(notes, rollout)
    return conditions_for(state, reason, message, revision=revision, now=now, before=before)


def _standing(notes: list[Note], steps: list[Step], rollout: RolloutSummary | None) -> tuple[bool, str, str]:
    """Return whether a resource is stalled, and the reason it is not ready; no reason when it is."""
    for note in notes:
        if note.severity == "blocked" or note.reason in _NOT_BY_ITSELF:
            return True, note.reason, note.message
    if steps:
        return False, "Planned", f"a run would {', '.join(dict.fromkeys(action_of(step).value for step in steps))}"
    if rollout is not None and rollout.phase in _PROBLEM_PHASES:
        return True, _PROBLEM_PHASES[rollout.phase], rollout.message
    for note in notes:
        if note.severity == "waiting" or note.reason in {CONFIG_DRIFTED, CONFLICT}:
            # What has drifted and is a warning stays so, as does a conflict, unless a person does something.
            return note.severity == "warning", note.reason, note.message
    if rollout is not None and rollout.phase is not Phase.SUCCEEDED:
        phase = rollout.phase.value
        return False, rollout.reason or phase[0].upper() + phase[1:], rollout.message
    return False, "", ""


def _ready(notes: list[Note], rollout: RolloutSummary | None) -> tuple[str, str]:
    message = "; ".join(note.message for note in notes)
    if rollout is not None:
        return "Succeeded", message or rollout.message
    return "UpToDate", message


def check(conditions: Sequence[Condition]) -> tuple[str, ...]:
    """Name every rule a resource's conditions break; none is the only right answer."""
    broken = []
    true = {condition.type for condition in conditions if condition.status == "True"}
    types = [condition.type for condition in conditions]
    broken += [f"{type_} is there {types.count(type_)} times" for type_ in _TYPES if types.count(type_) != 1]
    broken += [f"Ready and {other} are both true" for other in ("Reconciling", "Stalled") if {"Ready", other} <= true]
    if {"Stalled", "Reconciling"} <= true:
        broken.append("Stalled and Reconciling are both true")
    broken += [
        f"{condition.type}'s reason {condition.reason!r} is not one word in CamelCase"
        for condition in conditions
        if not _REASON.fullmatch(condition.reason)
    ]
    return tuple(broken)
