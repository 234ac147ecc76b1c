"""The plan of an environment, the explanation of one resource's part in it, and plans that were saved for apply."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.core.address import Address, parse_address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.planning.graph import references
from edgewright.core.planning.plan import Plan
from edgewright.core.planning.planner import plan, plan_with_builds, reachable
from edgewright.core.rollout.state import RolloutSummary
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.results import Results, gather_results
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError, PlanRefused, StorageFull
from edgewright.render.quantities import short
from edgewright.services.environment import Environment


def current_plan(environment: Environment, *, retry_failures: bool = False, drift: bool = False) -> Plan:
    """Compute the plan against reality.

    Args:
        environment: The environment.
        retry_failures: Plan steps again that failed before.
        drift: Scan for drift, and plan its repair.

    Raises:
        EdgewrightError: The specs are wrong, or something cannot be read.
    """
    desired = environment.source.snapshot()
    observed = environment.reality(desired).observe(desired, retry_failures=retry_failures, deep=drift)
    return plan(desired, observed, environment.clock())


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reasons why steps of one resource would or would not run."""

    address: Address
    plan: Plan
    """The whole plan, of which the resource's part is meant."""
    reused: Sequence[Artifact]
    """Artifacts of the resource that are up to date, oldest first."""
    users: Sequence[Address]
    """Resources that refer to it."""
    results: Results | None = None
    """Of a dataset or model that was built."""
    rollout: RolloutSummary | None = None
    """Of a rollout: how it stands, and what it rejected."""


def explain(environment: Environment, address: str) -> Explanation:
    """Explain one resource's part in the plan.

    Raises:
        EdgewrightError: It is no address, or not declared, with the nearest that is.
    """
    desired = environment.source.snapshot()
    wanted = declared_address(desired, address)
    observed = environment.reality(desired).observe(desired)
    now = environment.clock()
    used = reachable(desired, observed, now)
    reused = [a for f, a in observed.artifacts.items() if f in used and a.address == wanted]
    users = [
        user
        for user, resource in sorted(desired.resources.items())
        if wanted in {reference.target for reference in references(resource.document)}
    ]
    made, builds = plan_with_builds(desired, observed, now)
    found = gather_results(desired, observed, made, builds, [wanted]).get(wanted)
    return Explanation(wanted, made, sorted(reused, key=_made), users, found, observed.rollouts.get(wanted))


def _made(artifact: Artifact) -> float:
    return artifact.created_at.timestamp() if artifact.created_at else 0.0


def declared_address(desired: Snapshot, address: str) -> Address:
    """Return a declared address.

    Raises:
        EdgewrightError: It is none.
    """
    try:
        wanted = parse_address(address)
    except ValueError as error:
        named = [str(known) for known in sorted(desired.resources) if known.name == address]
        hint = f"did you mean {named[0]}?" if named else suggestion(address, map(str, desired.resources))
        raise EdgewrightError(f"{address!r} is no address; write kind/name", hint=hint) from error
    if wanted not in desired.resources:
        hint = suggestion(address, [str(known) for known in desired.resources])
        raise EdgewrightError(f"{address} is not declared at {short(desired.revision)}", hint=hint)
    return wanted


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan that was saved for apply."""

    path: Path
    version: object
    """Of the format."""
    commit: object
    observed_digest: object
    plan_id: str
    has_repairs: bool
    """Whether it repairs drift: it was made with a scan for drift, then."""

    def check(self, current: Plan) -> None:
        """Check that this is what would be done now.

        Raises:
            PlanRefused: It is not.
        """
        from edgewright.render.plan_json import FORMAT_VERSION

        path, again = self.path, f"look at a new one: edgewright plan --out {self.path}"
        if self.version != FORMAT_VERSION:
            what = f"{path} has format {self.version}; this edgewright reads {FORMAT_VERSION}"
            raise PlanRefused(what, hint=again)
        if self.commit != current.commit:
            what = f"{path} was made for commit {short(str(self.commit))}; this is {short(current.commit)}"
            raise PlanRefused(what, hint=again)
        if self.observed_digest != current.observed_digest:
            raise PlanRefused(f"{path} is stale: reality has changed since it was made", hint=again)


def read_saved(path: Path) -> SavedPlan:
    """Read a plan that was saved.

    Raises:
        PlanRefused: It cannot be read, or is none.
    """
    try:
        saved = json.loads(path.read_bytes())
        keys = ("formatVersion", "commit", "observedDigest", "planId")
        version, commit, observed, plan_id = (saved[key] for key in keys)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no saved plan"
        raise PlanRefused(f"cannot read {path}: {reason}", hint="save one with: edgewright plan --out FILE") from error
    return SavedPlan(path, version, commit, observed, str(plan_id), _has_repairs(saved))


def _has_repairs(saved: Any) -> bool:
    """Find repairs among the steps; those of another format are refused later, with the reason."""
    try:
        return any(step["action"] == Action.REPAIR for step in saved["steps"])
    except (KeyError, TypeError):
        return False


def save(current: Plan, path: Path) -> None:
    """Save a plan for apply.

    Raises:
        StorageFull: It cannot be written.
    """
    from edgewright.durable import write_atomic
    from edgewright.render.plan_json import plan_json

    try:
        write_atomic(path, json.dumps(plan_json(current), indent=2).encode())
    except OSError as error:
        raise StorageFull(f"cannot write {path}: {error.strerror}", hint="name another file with --out") from error
