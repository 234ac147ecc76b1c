"""Artifacts: the immutable outputs of build steps, and the evidence they carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from edgewright.core.address import Address
from edgewright.core.facts import Facts, StoredFacts, expect
from edgewright.errors import StateError

F = TypeVar("F", bound=StoredFacts)


class Action(StrEnum):
    """Every kind of step."""

    BUILD_DATASET = "build-dataset"
    TRAIN = "train"
    IMPORT = "import"
    COMMAND = "command"
    EXPORT = "export"
    EVALUATE = "evaluate"
    PACKAGE = "package"
    RENDER_CONFIG = "render-config"
    PUBLISH = "publish"
    START_ROLLOUT = "start-rollout"
    ADVANCE_WAVE = "advance-wave"
    ROLLBACK = "rollback"
    PRUNE = "prune"
    REPAIR = "repair"


BUILD_ACTIONS = frozenset(
    {
        Action.BUILD_DATASET,
        Action.TRAIN,
        Action.IMPORT,
        Action.COMMAND,
        Action.EXPORT,
        Action.EVALUATE,
        Action.PACKAGE,
    }
)


@dataclass(frozen=True, slots=True)
class FileRef:
    """A stored file of an artifact."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """The immutable output of a build step.

    ``digest`` names the *meaning* of the output (rows, tensors, graph, evidence), not the bytes that hold it,
    so a rebuild that comes to the same result has the same digest and stops the change there.
    """

    fingerprint: str
    action: Action
    address: Address
    digest: str
    files: Mapping[str, FileRef]
    """Stored files by name. Which names each step writes is in docs/reference/artifacts.md."""
    facts: Facts
    """Small figures that plans, gates and people need; typed by action."""
    components: Mapping[str, str] = field(default_factory=dict)
    """What went into the fingerprint, part by part; ``explain`` compares these."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Library versions it was made with."""
    created_at: datetime | None = None
    seconds: float = 0.0
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the artifacts it was made from, by role."""

    def facts_as(self, kind: type[F]) -> F:
        """Return the facts as those of one step.

        Raises:
            StateError: They lack a required key, or are another step's.
        """
        return expect(kind, self.facts, self.action, self.address)

    def input(self, role: str) -> str:
        """Return the fingerprint of the artifact that was read in a role.

        Raises:
            StateError: None is recorded.
        """
        try:
            return self.inputs[role]
        except KeyError:
            raise StateError(
                f"the recorded {self.action} of {self.address} names no input {role!r}",
                hint="it was recorded by another version or is damaged; change its spec, so that it is made again",
            ) from None
