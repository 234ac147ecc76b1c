"""Runs build steps: journals the intent, calls the builder, stores what it made, records the artifact.

Every part may be repeated after a crash: the intent's name and the work folder follow from the fingerprint, stored
files are content-addressed, and the artifact is recorded last.
"""

import fcntl
import json
import posixpath
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.core.artifact import Action, Artifact, FileRef
from edgewright.core.planning.fingerprint import FOUND, RESAMPLED
from edgewright.core.planning.plan import BuildStep, Command, Evaluate, Export, Import, Package, Train, action_of
from edgewright.core.snapshot import Snapshot
from edgewright.errors import Cancelled, StepFailed
from edgewright.ports import (
    BlobStore,
    Builder,
    BuildTask,
    Cancel,
    Intent,
    Progress,
    TaskCheckout,
    TaskInput,
)
from edgewright.reconcile.run import RunContext
from edgewright_schemas.base import is_code_reference
from edgewright_schemas.dataset import Dataset
from edgewright_schemas.model import Model

_ASK_AGAIN_SECONDS = 0.2


def work_name(fingerprint: str) -> str:
    """Name the folder a step works in."""
    return fingerprint.removeprefix("sha256:")[:24]


def work_lock(folder: Path, name: str) -> Path:
    """Find the lock of a step's work folder: one of 256 files beside them, so that they stay few."""
    return folder.parent / "locks" / name[:2]


@contextmanager
def one_at_a_time(lock: Path, cancel: Cancel) -> Iterator[bool]:
    """Keep others on this machine, such as another environment's run, from the same work; ends with this process.

    Yields:
        Whether someone else was at it before.

    Raises:
        Cancelled: ``cancel`` was set while waiting.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    with lock.open("wb") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                if cancel.wait(_ASK_AGAIN_SECONDS):
                    raise Cancelled("stopped while another run was at the same step") from None
            else:
                break
        yield waited


@dataclass(frozen=True, slots=True)
class BuildRunner:
    """Runs build steps, one at a time for each fingerprint."""

    context: RunContext
    blobs: BlobStore
    builder: Builder
    folder: Path
    """Work folders of steps are made here, one for each fingerprint."""

    def make(
        self, desired: Snapshot, step: BuildStep, progress: Callable[[Progress], None], cancel: Cancel
    ) -> Artifact | None:
        """Make one artifact whose fingerprint is known; None where another run has made it meanwhile.

        Raises:
            StepFailed, Transient, Cancelled: As ports.Builder.build.
            BlobCorrupt: An input's bytes changed; it is forgotten, so that the next plan makes it again.
        """
        assert step.fingerprint is not None
        try:
            with one_at_a_time(self._lock(step.fingerprint), cancel) as waited:
                made = self.context.reader.artifacts([step.fingerprint]).get(step.fingerprint)
                if made is not None and (waited or self._is_whole(made)):
                    return None
                return self._make(desired, step, progress, cancel)
        except Cancelled:
            if step.fingerprint in self.context.reader.artifacts([step.fingerprint]):
                return None  # nobody wants it any more because others have made it
            raise

    def _is_whole(self, artifact: Artifact) -> bool:
        """Check whether an artifact exists already: another run may have built it since this was planned."""
        return all(self.blobs.has(f.digest) and self.blobs.intact(f.digest) for f in artifact.files.values())

    def _make(
        self, desired: Snapshot, step: BuildStep, progress: Callable[[Progress], None], cancel: Cancel
    ) -> Artifact:
        assert step.fingerprint is not None
        action = action_of(step)
        name = f"{action}:{step.fingerprint}"
        self.context.writer.begin(
            Intent(name, action, str(step.address), {"commit": desired.revision}, self.context.clock())
        )
        workdir = self._workdir(step.fingerprint)
        started = time.monotonic()
        task = self._task(desired, step)
        try:
            built = self.builder.build(task, workdir, progress, cancel)
        except (Cancelled, StepFailed) as error:
            self.context.writer.finish(name, "cancelled" if isinstance(error, Cancelled) else "failed")
            raise
        files = {file: self.blobs.put_file(path) for file, path in built.files.items()}
        artifact = Artifact(
            fingerprint=step.fingerprint,
            action=action,
            address=step.address,
            digest=built.digest,
            files=files,
            facts=built.facts,
            components=step.components,
            environment=built.environment,
            inputs=dict(step.inputs),
            created_at=self.context.clock(),
            seconds=time.monotonic() - started,
        )
        self.context.writer.record_artifact(artifact)
        self.clean_up(step.fingerprint)
        self.context.writer.finish(name, "done")
        return artifact

    def clean_up(self, fingerprint: str) -> None:
        """Remove the work folder of a step whose artifact is recorded. Its intent is closed after that."""
        shutil.rmtree(self._workdir(fingerprint), ignore_errors=True)

    def _lock(self, fingerprint: str) -> Path:
        return work_lock(self.folder, work_name(fingerprint))

    def _workdir(self, fingerprint: str) -> Path:
        return self.folder / work_name(fingerprint)

    def _task(self, desired: Snapshot, step: BuildStep) -> BuildTask:
        assert step.fingerprint is not None
        document = desired.resources[step.address].document
        assert isinstance(document, Dataset | Model)
        recorded = self.context.reader.artifacts(step.inputs.values())
        inputs: dict[str, TaskInput] = {}
        for role, fingerprint in step.inputs.items():
            artifact = recorded.get(fingerprint)
            if artifact is None:
                raise StepFailed(f"{role} of {step.address} is not there", hint="apply again")
            inputs[role] = _input(artifact, artifact.files)
        if isinstance(step, Train) and isinstance(document, Model) and document.spec.training_or_default.warm_start:
            inputs |= self._warm_start(document)
        return BuildTask(
            action=action_of(step),
            address=step.address,
            fingerprint=step.fingerprint,
            spec=document.spec.model_dump(mode="json", by_alias=True),
            checkout=_checkout(desired, step, document),
            inputs=inputs,
            params=_params(step, document),
            then=_then(desired, document),
        )

    def _warm_start(self, model: Model) -> dict[str, TaskInput]:
        champion = self.context.reader.champions().get(model.metadata.name)
        of = champion.train_fingerprint if champion else ""
        weights = self.context.reader.artifacts([of]).get(of)
        if weights is None or "weights.pt" not in weights.files:
            return {}
        return {"warmStart": _input(weights, {"weights.pt": weights.files["weights.pt"]})}


def _input(artifact: Artifact, files: Mapping[str, FileRef]) -> TaskInput:
    return TaskInput(artifact.action, artifact.address, artifact.digest, files, artifact.facts)


def _checkout(desired: Snapshot, step: BuildStep, document: Dataset | Model) -> TaskCheckout:
    paths = tuple(_paths(desired, step, document))
    known = {**desired.content, **desired.code}
    return TaskCheckout(desired.revision, paths, {path: known[path] for path in paths if path in known})


def _then(desired: Snapshot, document: Dataset | Model) -> tuple[Action, ...]:
    """Return training for a dataset on which a model is trained; what comes after other steps is fixed."""
    if not isinstance(document, Dataset):
        return ()
    models = (resource.document for resource in desired.resources.values())
    trained = any(
        isinstance(model, Model) and model.spec.dataset == document.metadata.name and model.spec.origin == "trained"
        for model in models
    )
    return (Action.TRAIN,) if trained else ()


def _params(step: BuildStep, document: Dataset | Model) -> dict[str, Any]:
    if isinstance(step, Package):
        return {"variant": step.variant, "name": document.metadata.name}
    if isinstance(step, Export) and FOUND in step.components:
        return {"found": json.loads(step.components[FOUND])}
    if isinstance(step, Evaluate) and RESAMPLED in step.components:
        return {"resampled": json.loads(step.components[RESAMPLED])}
    return {}


def _paths(desired: Snapshot, step: BuildStep, document: Dataset | Model) -> list[str]:
    """List the repository paths a step needs: code whole, because code imports its neighbours."""
    if isinstance(document, Dataset):
        source = document.spec.source
        uses = [source.uri] if source.format == "python" else []
        uses += [use.use for use in document.spec.steps]
        data = [source.uri] if source.format != "python" else [*source.inputs]
        data += [path for use in document.spec.steps for path in use.inputs]
        return _code_paths(desired, uses) + [path for path in data if path in desired.content]
    spec = document.spec
    if isinstance(step, Import) and spec.source is not None:
        folder = posixpath.dirname(spec.source.uri)
        named = [spec.source.uri, *(posixpath.join(folder, file.path) for file in spec.source.files)]
        return [path for path in named if path in desired.content]
    if isinstance(step, Command):
        return [path for path in spec.inputs if path in desired.content]
    if spec.architecture is None:
        return []
    uses, data = [spec.architecture.use], [*spec.architecture.inputs]
    if isinstance(step, Train) and spec.training is not None:
        uses += [spec.training.loss] if spec.training.loss is not None else []
        data += [spec.training.initialize.uri] if spec.training.initialize is not None else []
    return _code_paths(desired, uses) + [path for path in data if path in desired.content]


def _code_paths(desired: Snapshot, uses: list[str]) -> list[str]:
    files = {use.partition(":")[0] for use in uses if is_code_reference(use)}
    return sorted({path for file in files for path in desired.code_files.get(file, (file,))})
