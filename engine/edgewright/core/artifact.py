"""Artifacts: the immutable outputs of build steps, and the evidence they carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from edgewright.core.address import Address


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
    """What a build step made.

    ``digest`` names the *meaning* of the output (rows, tensors, graph, evidence), not the bytes that hold it,
    so a rebuild that comes to the same result has the same digest and stops the change there.
    """

    fingerprint: str
    action: Action
    address: Address
    digest: str
    files: Mapping[str, FileRef]
    """Stored files by name. Which names each step writes is in docs/reference/artifacts.md."""
    facts: Mapping[str, Any]
    """Small figures that plans, gates and people need; plain JSON."""
    components: Mapping[str, str] = field(default_factory=dict)
    """What went into the fingerprint, part by part; ``explain`` compares these."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Library versions it was made with."""
    created_at: datetime | None = None
    seconds: float = 0.0
