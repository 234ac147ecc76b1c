"""The status of an environment: every resource with its conditions, as of now or as recorded last."""

from collections.abc import Sequence
from dataclasses import replace

from edgewright.core.planning.planner import plan
from edgewright.core.status.conditions import Condition, as_kept, conditions_of_all
from edgewright.core.status.environments import EnvironmentStatus, ResourceStatus
from edgewright.errors import (
    DeliveryError,
    DeliveryUnavailable,
    EdgewrightError,
    SourceError,
    SourceUnavailable,
    SpecError,
)
from edgewright.reconcile.accepted import accepted
from edgewright.services.environment import Environment

UNREADABLE = (SourceError, SourceUnavailable, SpecError, DeliveryError, DeliveryUnavailable)
"""Errors after which what was recorded last can still be shown."""


def current_status(environment: Environment, *, drift: bool = False) -> EnvironmentStatus:
    """Return the status as of now, from what is recorded and what devices have reported since; changes nothing.

    Where the specs or what is published cannot be read, the status that was recorded last is returned, and why.

    Args:
        environment: The environment.
        drift: Scan for drift.

    Raises:
        EdgewrightError: Something cannot be read, and nothing was recorded.
    """
    try:
        desired = environment.source.snapshot()
        observed = environment.reality(desired).observe(desired, deep=drift)
    except UNREADABLE as problem:
        return recorded_status(environment, problem)
    now = environment.clock()
    applied, stored = environment.state.last_revision(), environment.state.conditions()
    found = conditions_of_all(
        sorted(desired.resources),
        plan(desired, observed, now),
        observed.rollouts,
        revision=applied or "",
        now=now,
        before=stored,
    )
    own = {address: tuple(its) for address, its in stored.items() if address.kind == "repository"}
    found = {address: as_kept(conditions, stored.get(address, ())) for address, conditions in found.items()}
    return EnvironmentStatus(
        environment=environment.env,
        commit=desired.revision,
        applied=applied,
        in_force=accepted(environment.state),
        resources=[
            ResourceStatus(str(address), _dated(conditions, stored.get(address, ())), observed.rollouts.get(address))
            for address, conditions in {**own, **found}.items()
        ],
        drift=observed.drift if drift else None,
    )


def recorded_status(environment: Environment, problem: EdgewrightError) -> EnvironmentStatus:
    """Return the status that was recorded last, where the present one cannot be determined.

    Raises:
        EdgewrightError: The problem itself: nothing was recorded.
    """
    try:
        stored, rollouts = environment.state.conditions(), environment.state.rollout_summaries()
        applied, in_force = environment.state.last_revision(), accepted(environment.state)
    except EdgewrightError:
        raise problem from None
    if not stored:
        raise problem
    return EnvironmentStatus(
        environment=environment.env,
        commit=None,
        applied=applied,
        in_force=in_force,
        resources=[
            ResourceStatus(str(address), stored[address], rollouts.get(address))
            for address in sorted(stored, key=lambda address: (address.kind != "repository", address))
        ],
        problem=problem,
    )


def _dated(conditions: Sequence[Condition], stored: Sequence[Condition]) -> tuple[Condition, ...]:
    """Leave out the time of a status that the store does not know: it changed since conditions were recorded."""
    known = {(condition.type, condition.status): condition.since for condition in stored}
    return tuple(replace(one, since=known.get((one.type, one.status))) for one in conditions)
