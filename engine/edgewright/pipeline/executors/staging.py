"""Staging: lays the inputs of a build task out as local files, then hands it to an executor.

A BuildTask names everything by digests. With a blob store and the repository's objects at hand, any machine can stage
it: blobs become ``inputs/ROLE/FILE``, the repository's files become ``checkout/``, below the task's folder.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgewright.core.facts import Facts
from edgewright.errors import StepFailed, StorageFull
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.ports import BlobReader, BuildTask, Built, Cancel, Progress, TaskInput

INPUTS = "inputs"
CHECKOUT = "checkout"


class RepositoryFiles(Protocol):
    """The repository's files by revision; every SnapshotSource is one."""

    def materialize(self, revision: str, paths: Sequence[str], into: Path) -> None:
        """Write files and folders of a revision below ``into``; see ports.SnapshotSource.materialize."""
        ...


class Executor(Protocol):
    """Runs staged tasks."""

    def run(self, task: StagedTask, progress: Callable[[Progress], None], cancel: Cancel) -> Built[Facts]:
        """Run one step to its end; raises as ports.Builder.build."""
        ...


@dataclass(frozen=True, slots=True)
class Staging:
    """Lays out what a task names."""

    blobs: BlobReader
    repository: RepositoryFiles

    def stage(self, task: BuildTask, workdir: Path) -> StagedTask:
        """Lay the inputs of a task out below ``workdir``. Repeating it after a crash completes it.

        Raises:
            BlobCorrupt: An input's bytes do not match their digest.
            StepFailed: An input is not in the blob store.
            SourceError: The revision or a path is not in the repository.
            StorageFull: No space.
        """
        checkout = workdir / CHECKOUT
        try:
            checkout.mkdir(parents=True, exist_ok=True)
            inputs = {role: self._lay_out(role, each, workdir / INPUTS / role) for role, each in task.inputs.items()}
        except OSError as error:
            raise StorageFull(
                f"cannot write {workdir}: {error.strerror}", hint="make space, or check who may write there"
            ) from error
        self.repository.materialize(task.checkout.revision, task.checkout.paths, checkout)
        return StagedTask(
            action=task.action,
            address=task.address,
            fingerprint=task.fingerprint,
            spec=task.spec,
            checkout=checkout,
            inputs=inputs,
            facts={role: each.facts for role, each in task.inputs.items()},
            workdir=workdir,
            params=task.params,
            then=task.then,
        )

    def _lay_out(self, role: str, artifact: TaskInput, folder: Path) -> Mapping[str, Path]:
        """Link an artifact's blobs under their file names; the blobs themselves are not copied."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        laid_out = {}
        for name, file in artifact.files.items():
            try:
                blob = self.blobs.path(file.digest)
            except KeyError:
                raise StepFailed(
                    f"{name} of {role} {artifact.address} is not in the blob store ({file.digest})", hint="apply again"
                ) from None
            laid_out[name] = folder / name
            laid_out[name].symlink_to(blob.absolute())
        return laid_out


@dataclass(frozen=True, slots=True)
class StagingBuilder:
    """Stages each task and runs it; implements ports.Builder. Safe to call from several threads."""

    staging: Staging
    executor: Executor

    def build(
        self, task: BuildTask, workdir: Path, progress: Callable[[Progress], None], cancel: Cancel
    ) -> Built[Facts]:
        """Stage a task below ``workdir`` and run its step; see ports.Builder.build."""
        return self.executor.run(self.staging.stage(task, workdir), progress, cancel)
