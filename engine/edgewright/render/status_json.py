"""The status of an environment, its history and the outcome of a run as JSON: the format of ``status``, ``history``
and ``apply -o json``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edgewright.core.address import Address
from edgewright.core.status.conditions import Condition
from edgewright.core.status.environments import EnvironmentStatus, ResourceStatus
from edgewright.core.status.notifications import severity_of
from edgewright.core.status.results import Results
from edgewright.errors import EdgewrightError, Problem, SpecError
from edgewright.ports import Event
from edgewright.reconcile.run import RunResult
from edgewright.render.plan_json import drift_json, plan_json
from edgewright.render.results_json import results_json
from edgewright.render.rollout_json import rollout_summary_json


def status_json(status: EnvironmentStatus) -> dict[str, Any]:
    """Turn the status of an environment into JSON values; with ``stale`` and ``problem`` where it was recorded."""
    found: dict[str, Any] = {
        "environment": status.environment or None,
        "commit": status.commit,
        "appliedCommit": status.applied,
        "inForceCommit": status.in_force,
    }
    if status.problem is not None:
        found |= {"stale": True, "problem": str(status.problem)}
    found["resources"] = [resource_json(resource) for resource in status.resources]
    if status.drift is not None:
        found["drift"] = [drift_json(one) for one in status.drift]
    return found


def resource_json(resource: ResourceStatus) -> dict[str, Any]:
    """Turn the status of a resource into JSON values.

    ``rollout`` is there for rollouts that have started, ``results`` for datasets and models that were built.
    """
    found: dict[str, Any] = {
        "address": resource.address,
        "conditions": [condition_json(condition) for condition in resource.conditions],
    }
    if resource.rollout is not None:
        found["rollout"] = rollout_summary_json(resource.rollout)
    if resource.results is not None:
        found["results"] = results_json(resource.results)
    return found


def condition_json(condition: Condition) -> dict[str, Any]:
    """Turn a condition into JSON values."""
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "observedRevision": condition.observed_revision,
        "lastTransition": condition.since.isoformat() if condition.since else None,
    }


def event_json(event: Event) -> dict[str, Any]:
    """Turn an event of the history into JSON values."""
    return {
        "at": event.at.isoformat(),
        "severity": severity_of(event),
        "reason": event.reason,
        "address": event.address,
        "message": event.message,
        "revision": event.revision,
        "data": dict(event.data),
    }


def problem_json(problem: Problem, environments: Sequence[str] = ()) -> dict[str, Any]:
    """Turn a problem of the specs into JSON values, with the environments that have it where it is not all."""
    found: dict[str, Any] = {
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "hint": problem.hint,
    }
    return found | ({"environments": list(environments)} if environments else {})


def error_json(error: EdgewrightError) -> dict[str, Any]:
    """Turn an error into JSON values: its kind, and each problem of the specs with its place."""
    problems = error.problems if isinstance(error, SpecError) else ()
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "problems": [problem_json(problem) for problem in problems],
    }


def run_json(result: RunResult, exit_code: int, results: Mapping[Address, Results]) -> dict[str, Any]:
    """Turn the outcome of a run into JSON values, with the results of datasets and models."""
    return {
        "converged": result.converged,
        "exitCode": exit_code,
        "timedOut": result.timed_out,
        "stopped": result.stopped,
        "supersededBy": result.superseded_by,
        "failures": [{"step": f.step, "message": f.error.message, "hint": f.error.hint} for f in result.failures],
        "results": [results_json(each) for each in results.values()],
        "remaining": plan_json(result.plan),
    }
