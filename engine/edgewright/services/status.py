"""The status of an environment: every resource with its conditions, as of now or as recorded last.

Also the results of builds: rows of datasets, figures of models.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from edgewright.core.address import Address
from edgewright.core.planning.planner import plan_with_builds
from edgewright.core.status.conditions import Condition, as_kept, conditions_of_all
from edgewright.core.status.environments import EnvironmentStatus, ResourceStatus
from edgewright.core.status.results import Confusion, DatasetResults, ModelResults, Results, gather_results
from edgewright.errors import (
    BlobCorrupt,
    DeliveryError,
    DeliveryUnavailable,
    EdgewrightError,
    SourceError,
    SourceUnavailable,
    SpecError,
)
from edgewright.ports import BlobReader
from edgewright.reconcile.accepted import accepted
from edgewright.services.environment import Environment
from edgewright.services.plans import declared_address

UNREADABLE = (SourceError, SourceUnavailable, SpecError, DeliveryError, DeliveryUnavailable)
"""Errors after which what was recorded last can still be shown."""
EVIDENCE = "evidence.json"


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
    planned, builds = plan_with_builds(desired, observed, now)
    built = gather_results(desired, observed, planned, builds)
    found = conditions_of_all(
        sorted(desired.resources),
        planned,
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
            ResourceStatus(
                str(address),
                _dated(conditions, stored.get(address, ())),
                observed.rollouts.get(address),
                built.get(address),
            )
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


class EvidenceEnvironment(Environment, Protocol):
    """An environment whose stored files can be read."""

    @property
    def blobs(self) -> BlobReader:
        """The stored files."""
        ...


def show(environment: EvidenceEnvironment, address: str) -> Results:
    """Return the results of one dataset or model, with confusion.

    Raises:
        EdgewrightError: It is no dataset or model, is not declared, or was never built.
    """
    desired = environment.source.snapshot()
    wanted = declared_address(desired, address)
    if wanted.kind not in {"dataset", "model"}:
        raise EdgewrightError(
            f"{wanted} has no rows or figures", hint="datasets and models do; edgewright status shows every resource"
        )
    observed = environment.reality(desired).observe(desired)
    plan, builds = plan_with_builds(desired, observed, environment.clock())
    found = gather_results(desired, observed, plan, builds, [wanted]).get(wanted)
    if found is None:
        what = "built" if wanted.kind == "dataset" else "measured"
        raise EdgewrightError(
            f"{wanted} was never {what}", hint="edgewright plan says what stands before it; apply does it"
        )
    return found if isinstance(found, DatasetResults) else _with_confusion(environment.blobs, found)


def all_results(environment: Environment) -> Mapping[Address, Results]:
    """Return the results of every dataset and model that was built.

    Raises:
        EdgewrightError: The specs are wrong, or something cannot be read.
    """
    desired = environment.source.snapshot()
    observed = environment.reality(desired).observe(desired)
    plan, builds = plan_with_builds(desired, observed, environment.clock())
    return gather_results(desired, observed, plan, builds)


def _with_confusion(blobs: BlobReader, found: ModelResults) -> ModelResults:
    file = found.artifact.files.get(EVIDENCE)
    if file is None or not blobs.has(file.digest):
        return found
    try:
        evidence: Any = json.loads(blobs.read(file.digest))
    except (BlobCorrupt, KeyError):
        return found
    confusion: dict[str, Confusion] = {
        name: variant["confusion"] for name, variant in evidence["variants"].items() if variant.get("confusion")
    }
    classes: Sequence[str] | None = evidence.get("classes")
    return replace(found, confusion=confusion, classes=tuple(classes) if classes is not None else None)
