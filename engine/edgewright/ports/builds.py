"""Making artifacts. Implemented by ``pipeline.executors``; driven by ``reconcile.builds``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from edgewright.core.address import Address
from edgewright.core.artifact import Action, FileRef
from edgewright.core.facts import Facts, StoredFacts

F_co = TypeVar("F_co", bound=StoredFacts, covariant=True)


@dataclass(frozen=True, slots=True)
class TaskInput:
    """An artifact that a step reads, by digests."""

    action: Action
    """The step that made it; decides the type of its facts."""
    address: Address
    digest: str
    files: Mapping[str, FileRef]
    """Blobs by file name."""
    facts: Facts


@dataclass(frozen=True, slots=True)
class TaskCheckout:
    """Repository files that a step reads, by revision."""

    revision: str
    """The commit; for uncommitted edits ``worktree:<digest>``."""
    paths: tuple[str, ...] = ()
    """Files and folders to lay out: code, data, command inputs."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Digests of the code and content the spec refers to, by the path it uses; the fingerprint was made from these."""


@dataclass(frozen=True, slots=True)
class BuildTask:
    """Input of a build step, named by digests: plain JSON-able values and no local path.

    Whoever has the blob store and the repository's objects can run it, on this machine or on another one.
    """

    action: Action
    address: Address
    fingerprint: str
    spec: Mapping[str, Any]
    """The resource's spec as its kind's model dumps it (by alias)."""
    checkout: TaskCheckout
    inputs: Mapping[str, TaskInput] = field(default_factory=dict)
    """The artifacts it reads, by role."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What the planner decided: ``variant``, ``title``, …"""
    then: tuple[Action, ...] = ()
    """Steps that are likely to come after it: what they need can be made ready meanwhile. Changes nothing it makes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a long step."""

    address: Address
    action: Action
    done: int
    total: int
    unit: str
    """``epoch``, ``row``, ``sample``, ``byte``."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """``loss``, ``valLoss``, ``accuracy``, …"""


@dataclass(frozen=True, slots=True)
class Built(Generic[F_co]):
    """The output of a build step, before it is stored."""

    digest: str
    files: Mapping[str, Path]
    facts: F_co
    environment: Mapping[str, str] = field(default_factory=dict)


class Cancel(Protocol):
    """A request to stop long work."""

    def is_set(self) -> bool:
        """Return whether to stop now."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or the seconds pass."""
        ...


class Builder(Protocol):
    """Makes artifacts."""

    def build(
        self, task: BuildTask, workdir: Path, progress: Callable[[Progress], None], cancel: Cancel
    ) -> Built[Facts]:
        """Run one build step to its end. Running it again after a crash resumes or repeats it.

        Args:
            task: The step and its inputs.
            workdir: The step's own local folder; survives a crash, so that work can resume. The files of the result
                lie below it.
            progress: Called with each moment of the step.
            cancel: Set to stop it.

        Raises:
            StepFailed: It cannot succeed as declared (UserCodeFailed: the repository's code raised).
            BlobCorrupt: An input's bytes do not match their digest.
            Transient: It may succeed when tried again.
            Cancelled: ``cancel`` was set.
        """
        ...
