"""Looking at the device: its slots, blobs and memory become the view ``decide`` works on. Called by ``agent`` and
``main``; writes nothing, except that a manifest which does not match its digest is discarded.
"""

from pathlib import Path

from edgewright_agent.decide import DeviceView, Failure, ModelView
from edgewright_agent.durable import Disk
from edgewright_agent.models.packages import Package, read_package
from edgewright_agent.models.slots import ModelSlots
from edgewright_agent.models.state import DeviceState, ModelState
from edgewright_agent.repository.blobs import Blobs
from edgewright_wire.slots import MODELS, Slot


class Observer:
    """Looks at one device's directory.

    Args:
        directory: The agent's directory.
        blobs: The blob directory.
        disk: Through which slots would be written.
    """

    def __init__(self, directory: Path, blobs: Blobs, disk: Disk) -> None:
        self._directory = directory
        self._blobs = blobs
        self._disk = disk
        self._packages: dict[str, Package] = {}

    def slots(self, model: str) -> ModelSlots:
        """One model's slots."""
        return ModelSlots(self._directory / MODELS / model, self._disk)

    def view(self, device: str, state: DeviceState) -> DeviceView:
        """See everything. Times are left at their defaults.

        Raises:
            OSError: The disk refuses.
        """
        names = {model.model for model in state.models}
        models = self._directory / MODELS
        if models.is_dir():
            names.update(path.name for path in models.iterdir() if path.is_dir())
        seen = {name: model_view(self.slots(name), state.model(name)) for name in sorted(names)}
        present, whole = self._blobs.listed()
        wanted = [held for model in seen.values() for held in model.slots.values() if held is not None]
        if state.accepted is not None:
            wanted.extend(state.accepted.models)
        packages = {
            target.package.digest: package for target in wanted if (package := self._package(target.package.digest))
        }
        return DeviceView(device, state.accepted, seen, packages, present, whole)

    def _package(self, digest: str) -> Package | None:
        if not self._blobs.path(digest).exists():
            self._packages.pop(digest, None)
        elif digest not in self._packages and (manifest := self._blobs.read(digest)) is not None:
            self._packages[digest] = read_package(manifest)
        return self._packages.get(digest)


def model_view(slots: ModelSlots, kept: ModelState) -> ModelView:
    """See one model."""
    failure = kept.failure
    return ModelView(
        name=kept.model,
        active=slots.active(),
        slots={slot: slots.holds(slot) for slot in Slot},
        probed=kept.probed,
        verified=kept.verified,
        failure=None
        if failure is None
        else Failure(failure.target, failure.version, failure.reason, failure.message, failure.probe),
    )
