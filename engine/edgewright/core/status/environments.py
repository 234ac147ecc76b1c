"""The status of an environment as a value. Made by ``services.status``, rendered by ``render.status_json``."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgewright.core.config_drift import ConfigDrift
from edgewright.core.rollout.state import RolloutSummary
from edgewright.core.status.conditions import Condition
from edgewright.core.status.results import Results
from edgewright.errors import EdgewrightError


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """The status of one resource."""

    address: str
    conditions: Sequence[Condition]
    """Their ``since`` is None where it is not known."""
    rollout: RolloutSummary | None = None
    """Of a rollout that has started."""
    results: Results | None = None
    """Of a dataset or model that was built; None in a status that was recorded."""


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """The status of an environment."""

    environment: str
    """Empty where the repository declares none."""
    commit: str | None
    """The desired revision; None where it cannot be read."""
    applied: str | None
    """The revision applied last."""
    in_force: str | None
    """The revision accepted last."""
    resources: Sequence[ResourceStatus]
    drift: Sequence[ConfigDrift] | None = None
    """None where no scan was asked for."""
    problem: EdgewrightError | None = None
    """Why this is the status that was recorded last, and not the present one."""
