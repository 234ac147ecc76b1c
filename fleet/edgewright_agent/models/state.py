"""State of the agent across restarts, beside its slots: one small file, replaced whole.

Slots and the active pointer say themselves what they hold; this file holds what cannot be seen from them. ``actions``
reads it once and writes it after every action that changes it, for the agent and for the installer.
"""

import logging
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from edgewright_agent.durable import Disk
from edgewright_wire.messages import Assignment, ModelAssignment, Phase, ProbeResult, WireModel
from edgewright_wire.names import ModelName

log = logging.getLogger(__name__)


class FailureState(WireModel):
    """As decide.Failure."""

    target: ModelAssignment
    version: int
    reason: str
    message: str
    probe: ProbeResult | None = None


class ModelState(WireModel):
    """State of one model."""

    model: ModelName
    probed: ModelAssignment | None = None
    verified: ModelAssignment | None = None
    probe: ProbeResult | None = None
    """The newest result of running golden samples."""
    failure: FailureState | None = None
    previous: ModelAssignment | None = None
    """What was active before the installer was last asked for something else; the agent has no use for it."""
    phase: Phase = Phase.IDLE
    """As reported last."""
    since: AwareDatetime | None = None


class DeviceState(WireModel):
    """State of the device."""

    format_version: int = 1
    accepted: Assignment | None = None
    sequence: int = Field(default=0, ge=0)
    models: tuple[ModelState, ...] = ()

    def model(self, name: str) -> ModelState:
        """Find what is remembered of a model; a blank one when nothing is."""
        return next((model for model in self.models if model.model == name), ModelState(model=name))

    def with_model(self, changed: ModelState) -> "DeviceState":
        """Replace what is remembered of one model."""
        others = [model for model in self.models if model.model != changed.model]
        return self.model_copy(update={"models": tuple(sorted([*others, changed], key=lambda m: m.model))})

    def without_model(self, name: str) -> "DeviceState":
        """Forget a model."""
        return self.model_copy(update={"models": tuple(model for model in self.models if model.model != name)})


class StateFile:
    """The file."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk

    def read(self) -> DeviceState:
        """Read it; a blank state when there is none, or none that can be read.

        An unreadable file is set aside and not fatal: what is active is verified anew, and TUF still refuses
        to go back.

        Raises:
            OSError: The disk refuses.
        """
        try:
            return DeviceState.from_bytes(self._path.read_bytes())
        except FileNotFoundError:
            return DeviceState()
        except ValidationError as error:
            aside = self._path.with_suffix(".unreadable")
            log.error("%s cannot be read (%d problems); set aside as %s", self._path, error.error_count(), aside.name)
            self._disk.rename(self._path, aside)
            return DeviceState()

    def write(self, state: DeviceState) -> None:
        """Replace it.

        Raises:
            OSError: The disk refuses.
        """
        self._disk.write(self._path, state.to_bytes())
