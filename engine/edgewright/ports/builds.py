"""Making artifacts. Implemented by ``build``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgewright.core.address import Address
from edgewright.core.artifact import Action


@dataclass(frozen=True, slots=True)
class BuildTask:
    """Everything a build step needs; plain JSON-able values and paths, so that it can cross to another process."""

    action: Action
    address: Address
    fingerprint: str
    spec: Mapping[str, Any]
    """The resource's spec as its kind's model dumps it (by alias)."""
    checkout: Path
    """A folder with the repository files the spec names (code, data, templates)."""
    inputs: Mapping[str, Mapping[str, Path]]
    """Files of the artifacts it reads: role → file name → path."""
    facts: Mapping[str, Mapping[str, Any]]
    """Facts of those artifacts, by role."""
    workdir: Path
    """The step's own folder; survives a crash, so that work can resume. Outputs go below ``workdir/out``."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What the planner decided: ``variant``, ``title``, …"""


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
class Built:
    """What a build step made, before it is stored."""

    digest: str
    files: Mapping[str, Path]
    facts: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


class Cancel(Protocol):
    """Tells long work to stop."""

    def is_set(self) -> bool:
        """Whether to stop now."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or the seconds pass."""
        ...


class Builder(Protocol):
    """Makes artifacts."""

    def build(self, task: BuildTask, progress: Callable[[Progress], None], cancel: Cancel) -> Built:
        """Run one build step to its end. Running it again after a crash resumes or repeats it.

        Raises:
            StepFailed: It cannot succeed as declared (UserCodeFailed: the repository's code raised).
            Transient: It may succeed when tried again.
            Cancelled: ``cancel`` was set.
        """
        ...
