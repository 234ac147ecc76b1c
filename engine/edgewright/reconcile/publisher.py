"""Puts packages and assignments where devices find them. Every effect may be repeated."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from edgewright.core.artifact import Artifact
from edgewright.errors import EdgewrightError, LeaseLost, StepFailed
from edgewright.ports import BlobReader, DeliveryWriter, Event, Intent, PackageContent
from edgewright.reconcile.run import RunContext
from edgewright_wire.messages import Assignment

MANIFEST = "manifest.json"
AT_ONCE = 200
"""How many packages are signed for together at most."""
BYTES_AT_ONCE = 256 << 20
"""How many bytes they have together at most, so that devices do not wait for all of them; one may be larger."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes packages and assignments. Every call is idempotent."""

    context: RunContext
    blobs: BlobReader
    delivery: DeliveryWriter

    def publish(self, artifacts: Iterable[Artifact]) -> Mapping[str, EdgewrightError]:
        """Make packages fetchable, many with one signing.

        Returns:
            Why packages stay out, by digest; the others are out. BlobCorrupt: a stored file of it changed.
            StepFailed: its manifest, or a file of it, is not stored. Whatever else as ports.DeliveryWriter.publish:
            where nothing can be published, the rest is not attempted.

        Raises:
            LeaseLost: Another process took over.
        """
        refused: dict[str, EdgewrightError] = {}
        general: EdgewrightError | None = None
        for batch in _batches(artifacts):
            if general is None:
                try:
                    refused |= self._publish(batch)
                    continue
                except LeaseLost:
                    raise
                except EdgewrightError as error:
                    general = error
            refused |= dict.fromkeys((artifact.digest for artifact in batch), general)
        return refused

    def _publish(self, batch: Sequence[Artifact]) -> Mapping[str, EdgewrightError]:
        refused: dict[str, EdgewrightError] = {}
        contents = []
        for artifact in batch:
            self.context.writer.begin(_intent(artifact, self.context.clock()))
            try:
                contents.append(self._content(artifact))
            except LeaseLost:
                raise
            except EdgewrightError as error:
                refused[artifact.digest] = error
        refused |= self.delivery.publish(contents)
        out = [artifact for artifact in batch if artifact.digest not in refused]
        now = self.context.clock()
        self.context.writer.add_events(
            [Event(now, "Published", str(each.address), f"published package {each.digest}") for each in out]
        )
        for artifact in out:
            self.context.writer.finish(_intent(artifact, now).name, "done")
        return refused

    def _content(self, artifact: Artifact) -> PackageContent:
        manifest = artifact.files.get(MANIFEST)
        if manifest is None:
            raise StepFailed(f"the package of {artifact.address} has no {MANIFEST}", hint="apply again")
        files = [file for file in artifact.files.values() if file.digest != manifest.digest]
        try:
            return PackageContent(
                manifest=self.blobs.read(manifest.digest),
                digest=artifact.digest,
                blobs={file.digest: self.blobs.path(file.digest) for file in files},
            )
        except KeyError as error:
            raise StepFailed(
                f"a file of the package of {artifact.address} is not stored any more: {error.args[0]}",
                hint="apply again, which makes it again",
            ) from error

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
        waiting = self.context.reader.unpublished()
        if waiting:
            self.delivery.assign(waiting, {digest: self.blobs.read(digest) for digest in _configs(waiting)})
            self.context.writer.mark_published({assignment.device: assignment.version for assignment in waiting})
        return len(waiting)


def _batches(artifacts: Iterable[Artifact]) -> Iterator[Sequence[Artifact]]:
    batch: list[Artifact] = []
    size = 0
    for artifact in artifacts:
        its = sum(file.size for file in artifact.files.values())
        if batch and (len(batch) == AT_ONCE or size + its > BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(artifact)
        size += its
    if batch:
        yield batch


def _intent(artifact: Artifact, now: datetime) -> Intent:
    return Intent(f"publish:{artifact.digest}", "publish", str(artifact.address), {"package": artifact.digest}, now)


def _configs(assignments: Sequence[Assignment]) -> set[str]:
    return {model.config.digest for assignment in assignments for model in assignment.models if model.config}
