"""Tasks, results and errors as JSON, and the context a step function gets.

A BuildTask names its inputs by digests; ``executors.staging`` turns it into a StagedTask, whose inputs are local files.
``executors.local`` writes staged tasks and reads results and errors; ``worker`` reads tasks and writes the others.
Every step function (``edgewright.pipeline.dataset.step:build``, …) gets a StepContext and returns a Built.
"""

import errno
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edgewright import errors
from edgewright.core.address import Address, parse_address
from edgewright.core.artifact import Action, FileRef
from edgewright.core.facts import KINDS, DatasetFacts, Facts, IncompleteFacts, StoredFacts, parse_facts
from edgewright.ports import BuildTask, Built, TaskCheckout, TaskInput

F = TypeVar("F", bound=StoredFacts)


class ReportProgress(Protocol):
    """Reports how far a step has come."""

    def __call__(self, done: int, total: int, unit: str, figures: Mapping[str, float] | None = None) -> None:
        """Report ``done`` of ``total`` units (0: not known). Those without figures may be dropped when frequent."""
        ...


@dataclass(frozen=True, slots=True)
class StagedTask:
    """A build task whose inputs are files on this machine."""

    action: Action
    address: Address
    fingerprint: str
    spec: Mapping[str, Any]
    """The resource's spec as its kind's model dumps it (by alias)."""
    checkout: Path
    """A folder with the repository files the spec names (code, data, templates)."""
    inputs: Mapping[str, Mapping[str, Path]]
    """Files of the artifacts it reads: role → file name → path."""
    facts: Mapping[str, Facts]
    """Facts of those artifacts, by role."""
    workdir: Path
    """The step's own folder; survives a crash, so that work can resume. Outputs go below ``workdir/out``."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What the planner decided (``variant``, ``name``), ``found``: columns of the dataset that declare no values, and
    ``folders``: where a dataset's relative source path is looked for when the checkout does not have it."""
    then: tuple[Action, ...] = ()
    """Steps that are likely to come after it; the worker is not told."""


@dataclass(frozen=True, slots=True)
class StepContext:
    """Context of a step function: its task, folders and progress."""

    task: StagedTask
    progress: ReportProgress

    @property
    def out(self) -> Path:
        """The folder for the step's output files; made, and empty when the step starts."""
        return self.task.workdir / "out"

    @property
    def checkpoint(self) -> Path:
        """The folder for what the step needs to resume after a crash; made, and kept between attempts."""
        return self.task.workdir / "checkpoint"

    def dataset_or_none(self) -> DatasetFacts | None:
        """Return the facts of the dataset it reads; None where it reads none.

        Raises:
            StepFailed: They are incomplete.
        """
        return self.facts("dataset", DatasetFacts) if "dataset" in self.task.facts else None

    def facts(self, role: str, kind: type[F]) -> F:
        """Return the facts of the artifact read in a role.

        Raises:
            StepFailed: Nothing is read in that role, or its facts are incomplete or another step's.
        """
        found = self.task.facts.get(role)
        if isinstance(found, kind):
            return found
        problem = found.problem if isinstance(found, IncompleteFacts) else f"gives no {kind.__name__}"
        raise errors.StepFailed(
            f"input {role} of {self.task.action} for {self.task.address} {problem}",
            hint="change the spec of what it is made from, so that it is made again",
        )


def task_to_json(task: BuildTask) -> dict[str, Any]:
    """Convert a task to JSON values."""
    return {
        "action": task.action.value,
        "address": str(task.address),
        "fingerprint": task.fingerprint,
        "spec": dict(task.spec),
        "checkout": {
            "revision": task.checkout.revision,
            "paths": list(task.checkout.paths),
            "digests": dict(task.checkout.digests),
        },
        "inputs": {
            role: {
                "action": each.action.value,
                "address": str(each.address),
                "digest": each.digest,
                "files": {name: {"digest": file.digest, "size": file.size} for name, file in each.files.items()},
                "facts": each.facts.to_json(),
            }
            for role, each in task.inputs.items()
        },
        "params": dict(task.params),
    }


def task_from_json(value: Mapping[str, Any]) -> BuildTask:
    """Parse what task_to_json wrote."""
    checkout = value["checkout"]
    return BuildTask(
        action=Action(value["action"]),
        address=parse_address(value["address"]),
        fingerprint=value["fingerprint"],
        spec=value["spec"],
        checkout=TaskCheckout(checkout["revision"], tuple(checkout["paths"]), checkout["digests"]),
        inputs={
            role: TaskInput(
                action=Action(each["action"]),
                address=parse_address(each["address"]),
                digest=each["digest"],
                files={name: FileRef(file["digest"], file["size"]) for name, file in each["files"].items()},
                facts=parse_facts(each["action"], each["facts"]),
            )
            for role, each in value["inputs"].items()
        },
        params=value["params"],
    )


def staged_to_json(task: StagedTask) -> dict[str, Any]:
    """Convert a staged task to JSON values."""
    return {
        "action": task.action.value,
        "address": str(task.address),
        "fingerprint": task.fingerprint,
        "spec": dict(task.spec),
        "checkout": str(task.checkout.absolute()),
        "inputs": {
            role: {name: str(path.absolute()) for name, path in files.items()} for role, files in task.inputs.items()
        },
        "facts": {role: facts_to_json(facts) for role, facts in task.facts.items()},
        "workdir": str(task.workdir.absolute()),
        "params": dict(task.params),
    }


def staged_from_json(value: Mapping[str, Any]) -> StagedTask:
    """Parse what staged_to_json wrote."""
    return StagedTask(
        action=Action(value["action"]),
        address=parse_address(value["address"]),
        fingerprint=value["fingerprint"],
        spec=value["spec"],
        checkout=Path(value["checkout"]),
        inputs={role: {name: Path(path) for name, path in files.items()} for role, files in value["inputs"].items()},
        facts={role: facts_from_json(facts) for role, facts in value["facts"].items()},
        workdir=Path(value["workdir"]),
        params=value["params"],
    )


def facts_to_json(facts: StoredFacts) -> dict[str, Any]:
    """Convert facts to JSON values, with their kind."""
    return {"kind": type(facts).__name__, "values": facts.to_json()}


def facts_from_json(value: Mapping[str, Any]) -> Facts:
    """Parse what facts_to_json wrote; IncompleteFacts where a required key is absent."""
    return parse_facts(_ACTIONS.get(value["kind"], ""), value["values"])


_ACTIONS = {kind.__name__: action for action, kind in KINDS.items()}
"""An action with facts of each kind."""


def built_to_json(built: Built[StoredFacts]) -> dict[str, Any]:
    """Convert a result to JSON values."""
    return {
        "digest": built.digest,
        "files": {name: str(path.absolute()) for name, path in built.files.items()},
        "facts": facts_to_json(built.facts),
        "environment": dict(built.environment),
    }


def built_from_json(value: Mapping[str, Any]) -> Built[Facts]:
    """Parse what built_to_json wrote."""
    return Built(
        digest=value["digest"],
        files={name: Path(path) for name, path in value["files"].items()},
        facts=facts_from_json(value["facts"]),
        environment=value["environment"],
    )


def finite(figures: Mapping[str, float] | None) -> dict[str, float]:
    """Leave out figures that could not be computed."""
    return {name: float(value) for name, value in (figures or {}).items() if math.isfinite(value)}


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────

_RAISABLE = (
    errors.StepFailed,
    errors.UserCodeFailed,
    errors.SourceError,
    errors.SourceUnavailable,
    errors.StorageFull,
    errors.Transient,
    errors.Cancelled,
)
_BY_NAME = {class_.__name__: class_ for class_ in _RAISABLE}
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def error_to_json(error: BaseException) -> dict[str, str]:
    """Convert whatever a step raised to JSON values; an unexpected error becomes a StepFailed that names it."""
    if isinstance(error, errors.BlobCorrupt):
        return {"class": "BlobCorrupt", "message": error.message, "hint": error.hint, "digest": error.digest}
    if isinstance(error, errors.EdgewrightError):
        known = next(c for c in (*type(error).__mro__, errors.StepFailed) if c.__name__ in _BY_NAME)
        return {"class": known.__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, MemoryError):
        return {"class": "Transient", "message": "the step ran out of memory", "hint": "free memory, or use less data"}
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        where = f" at {error.filename}" if error.filename else ""
        return {
            "class": "StorageFull",
            "message": f"{error.strerror}{where}",
            "hint": "make space (edgewright gc removes what nothing uses), then apply again",
        }
    last = traceback.extract_tb(error.__traceback__)[-1:]
    at = f" at {Path(last[0].filename).name}:{last[0].lineno}" if last else ""
    return {
        "class": "StepFailed",
        "message": f"{type(error).__name__}{at}: {error}",
        "hint": "this is not expected; the whole traceback is in the step's log",
    }


def error_from_json(value: Mapping[str, str]) -> errors.EdgewrightError:
    """Build the error that error_to_json wrote."""
    if value["class"] == "BlobCorrupt":
        return errors.BlobCorrupt(value["digest"])
    return _BY_NAME[value["class"]](value["message"], hint=value["hint"])
