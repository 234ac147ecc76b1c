"""Puts packages and assignments where devices find them. Every effect may be repeated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from edgewright.core.artifact import Artifact
from edgewright.errors import StepFailed
from edgewright.ports import BlobReader, DeliveryWriter, Event, Intent, PackageContent, StateReader, StateWriter
from edgewright_wire.messages import Assignment

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Publisher:
    """Everything publishing needs."""

    reader: StateReader
    writer: StateWriter
    blobs: BlobReader
    delivery: DeliveryWriter
    clock: Callable[[], datetime]

    def publish(self, artifact: Artifact) -> None:
        """Make a package fetchable.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As ports.DeliveryWriter.publish.
            BlobCorrupt: A stored file of the package changed.
        """
        name = f"publish:{artifact.digest}"
        self.writer.begin(Intent(name, "publish", str(artifact.address), {"package": artifact.digest}, self.clock()))
        manifest = artifact.files.get(MANIFEST)
        if manifest is None:
            raise StepFailed(f"the package of {artifact.address} has no {MANIFEST}", hint="apply again")
        files = [file for file in artifact.files.values() if file.digest != manifest.digest]
        self.delivery.publish(
            PackageContent(
                manifest=self.blobs.read(manifest.digest),
                digest=artifact.digest,
                blobs={file.digest: self.blobs.path(file.digest) for file in files},
            )
        )
        message = f"published package {artifact.digest}"
        self.writer.add_events([Event(self.clock(), "Published", str(artifact.address), message)])
        self.writer.finish(name, "done")

    def refresh(self) -> None:
        """Renew the signatures that devices check for age, where a package has been published at all.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As ports.DeliveryWriter.refresh.
        """
        self.delivery.refresh()

    def flush_assignments(self) -> int:
        """Publish the assignments that were decided but are not confirmed yet; returns how many.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As ports.DeliveryWriter.assign.
        """
        waiting = self.reader.unpublished()
        if waiting:
            self.delivery.assign(waiting, {digest: self.blobs.read(digest) for digest in _configs(waiting)})
            self.writer.mark_published({assignment.device: assignment.version for assignment in waiting})
        return len(waiting)


def _configs(assignments: Sequence[Assignment]) -> set[str]:
    return {model.config.digest for assignment in assignments for model in assignment.models if model.config}
