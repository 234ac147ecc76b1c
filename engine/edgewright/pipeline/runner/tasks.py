"""What crosses between the builder and its worker process: tasks, results and errors as JSON; the step's context.

``process`` writes tasks and reads results and errors; ``worker`` reads tasks and writes the others; every step
function (``edgewright.pipeline.dataset.step:build``, …) gets a StepContext and returns a Built.
"""

import errno
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgewright import errors
from edgewright.core.address import parse_address
from edgewright.core.artifact import Action
from edgewright.ports import BuildTask, Built


class ReportProgress(Protocol):
    """Says how far a step has come."""

    def __call__(self, done: int, total: int, unit: str, figures: Mapping[str, float] | None = None) -> None:
        """Report ``done`` of ``total`` units (0: not known). Those without figures may be dropped when frequent."""
        ...


@dataclass(frozen=True, slots=True)
class StepContext:
    """Everything a step function gets."""

    task: BuildTask
    progress: ReportProgress

    @property
    def out(self) -> Path:
        """The folder for the step's output files; made, and empty when the step starts."""
        return self.task.workdir / "out"

    @property
    def checkpoint(self) -> Path:
        """The folder for what the step needs to resume after a crash; made, and kept between attempts."""
        return self.task.workdir / "checkpoint"


def task_to_json(task: BuildTask) -> dict[str, Any]:
    """Turn a task into JSON values."""
    return {
        "action": task.action.value,
        "address": str(task.address),
        "fingerprint": task.fingerprint,
        "spec": dict(task.spec),
        "checkout": str(task.checkout.absolute()),
        "inputs": {
            role: {name: str(path.absolute()) for name, path in files.items()} for role, files in task.inputs.items()
        },
        "facts": {role: dict(facts) for role, facts in task.facts.items()},
        "workdir": str(task.workdir.absolute()),
        "params": dict(task.params),
    }


def task_from_json(value: Mapping[str, Any]) -> BuildTask:
    """Read what task_to_json wrote."""
    return BuildTask(
        action=Action(value["action"]),
        address=parse_address(value["address"]),
        fingerprint=value["fingerprint"],
        spec=value["spec"],
        checkout=Path(value["checkout"]),
        inputs={role: {name: Path(path) for name, path in files.items()} for role, files in value["inputs"].items()},
        facts=value["facts"],
        workdir=Path(value["workdir"]),
        params=value["params"],
    )


def built_to_json(built: Built) -> dict[str, Any]:
    """Turn a result into JSON values."""
    return {
        "digest": built.digest,
        "files": {name: str(path.absolute()) for name, path in built.files.items()},
        "facts": dict(built.facts),
        "environment": dict(built.environment),
    }


def built_from_json(value: Mapping[str, Any]) -> Built:
    """Read what built_to_json wrote."""
    return Built(
        digest=value["digest"],
        files={name: Path(path) for name, path in value["files"].items()},
        facts=value["facts"],
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
    """Turn whatever a step raised into JSON values; what is no user's error becomes one that names it."""
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
    """Make the error that error_to_json wrote."""
    if value["class"] == "BlobCorrupt":
        return errors.BlobCorrupt(value["digest"])
    return _BY_NAME[value["class"]](value["message"], hint=value["hint"])
