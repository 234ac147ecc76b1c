"""A build task crosses as JSON to a machine that has a blob store and the repository's objects, and nothing else."""

import json
import shutil
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.blobs.file_store import FileBlobStore
from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.facts import DatasetFacts, ExportFacts, TrainingFacts
from edgewright.errors import BlobCorrupt, SourceError, StepFailed
from edgewright.pipeline.executors.local import LocalExecutor
from edgewright.pipeline.executors.staging import Staging, StagingBuilder
from edgewright.pipeline.runner.tasks import task_from_json, task_to_json
from edgewright.ports import BuildTask, Built, TaskCheckout, TaskInput
from edgewright.source.commits import GitSource
from samples.repositories import make_repository, run_git

FRAMES = """
def generate():
    for n in range(60):
        yield {"x": float(n % 2), "y": float(n % 3), "label": "ab"[n % 2]}
"""
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layer = torch.nn.Linear(input_shape[0], outputs)

    def forward(self, x):
        return self.layer(x)
"""
DATASET: Mapping[str, Any] = {
    "source": {"uri": "code/frames.py:generate", "format": "python"},
    "columns": {"x": {"type": "number"}, "y": {"type": "number"}, "label": {"type": "category"}},
}
MODEL: Mapping[str, Any] = {
    "task": "tabular-classification",
    "dataset": "goods",
    "architecture": {"use": "code/net.py:Net"},
    "training": {"epochs": 1},
}


class Machine:
    """A machine of its own: a folder, a bare clone of the repository and a blob store."""

    def __init__(self, folder: Path, repository: Path) -> None:
        folder.mkdir()
        run_git(folder, "clone", "-q", "--bare", str(repository), "objects.git")
        self.folder = folder
        self.blobs = FileBlobStore(folder / "blobs")
        self.staging = Staging(self.blobs, GitSource(folder / "objects.git"))

    def run(self, text: str) -> Built[Any]:
        task = task_from_json(json.loads(text))
        builder = StagingBuilder(self.staging, LocalExecutor(threads=1))
        return builder.build(task, self.folder / "work" / task.action, lambda moment: None, threading.Event())

    def keep(self, action: Action, name: str, built: Built[Any]) -> TaskInput:
        """Store what was built, as the machine that asked for it does."""
        kind = "dataset" if action is Action.BUILD_DATASET else "model"
        files = {file: self.blobs.put_file(path) for file, path in built.files.items()}
        return TaskInput(action, Address(kind, name), built.digest, files, built.facts)


@pytest.fixture
def revision(tmp_path: Path) -> str:
    made = make_repository(tmp_path / "repository", {"code/frames.py": FRAMES, "code/net.py": NET})
    return run_git(made, "rev-parse", "HEAD")


@pytest.fixture
def machine(tmp_path: Path, revision: str) -> Machine:
    made = Machine(tmp_path / "elsewhere", tmp_path / "repository")
    shutil.rmtree(tmp_path / "repository")  # nothing of the machine that wrote the task is left
    return made


def a_task(action: Action, revision: str, paths: tuple[str, ...], **inputs: TaskInput) -> BuildTask:
    return BuildTask(
        action=action,
        address=Address("dataset", "goods") if action is Action.BUILD_DATASET else Address("model", "reader"),
        fingerprint="sha256:" + "1" * 64,
        spec=DATASET if action is Action.BUILD_DATASET else MODEL,
        checkout=TaskCheckout(revision, paths, dict.fromkeys(paths, "sha256:" + "2" * 64)),
        inputs=inputs,
    )


def test_steps_run_from_json_a_blob_store_and_git_objects_alone(machine: Machine, revision: str) -> None:
    data = machine.run(json.dumps(task_to_json(a_task(Action.BUILD_DATASET, revision, ("code/frames.py",)))))
    assert isinstance(data.facts, DatasetFacts)
    assert sum(data.facts.rows.values()) == 60

    dataset = machine.keep(Action.BUILD_DATASET, "goods", data)
    trained = machine.run(json.dumps(task_to_json(a_task(Action.TRAIN, revision, ("code/net.py",), dataset=dataset))))
    assert isinstance(trained.facts, TrainingFacts)
    assert trained.facts.parameters == 2 * 2 + 2

    model = machine.keep(Action.TRAIN, "reader", trained)
    task = a_task(Action.EXPORT, revision, ("code/net.py",), dataset=dataset, model=model)
    exported = machine.run(json.dumps(task_to_json(task)))
    assert isinstance(exported.facts, ExportFacts)
    assert exported.facts.parameters == 6
    assert all(path.is_relative_to(machine.folder) for path in exported.files.values())


def test_a_task_names_no_path_of_the_machine_that_wrote_it(tmp_path: Path, machine: Machine, revision: str) -> None:
    data = machine.run(json.dumps(task_to_json(a_task(Action.BUILD_DATASET, revision, ("code/frames.py",)))))
    dataset = machine.keep(Action.BUILD_DATASET, "goods", data)
    task = a_task(Action.TRAIN, revision, ("code/net.py",), dataset=dataset)
    text = json.dumps(task_to_json(task))
    assert str(tmp_path) not in text
    assert task_from_json(json.loads(text)) == task


def test_staging_again_replaces_what_a_crash_left_half(machine: Machine, revision: str) -> None:
    data = machine.run(json.dumps(task_to_json(a_task(Action.BUILD_DATASET, revision, ("code/frames.py",)))))
    task = a_task(Action.TRAIN, revision, ("code/net.py",), dataset=machine.keep(Action.BUILD_DATASET, "goods", data))
    workdir = machine.folder / "again"
    first = machine.staging.stage(task, workdir)
    first.inputs["dataset"]["train.parquet"].unlink()
    (workdir / "inputs/dataset/schema.json").unlink()
    (workdir / "inputs/dataset/schema.json").write_text("half")
    (workdir / "checkpoint").mkdir()
    again = machine.staging.stage(task, workdir)
    assert again == first
    assert all(path.read_bytes() == data.files[name].read_bytes() for name, path in again.inputs["dataset"].items())
    assert (workdir / "checkpoint").is_dir(), "what a step resumes from stays"


def test_what_is_missing_or_changed_is_named(machine: Machine, revision: str) -> None:
    data = machine.run(json.dumps(task_to_json(a_task(Action.BUILD_DATASET, revision, ("code/frames.py",)))))
    dataset = machine.keep(Action.BUILD_DATASET, "goods", data)
    task = a_task(Action.TRAIN, revision, ("code/net.py",), dataset=dataset)
    elsewhere = Staging(FileBlobStore(machine.folder / "empty"), machine.staging.repository)
    with pytest.raises(StepFailed, match=r"of dataset dataset/goods is not in the blob store"):
        elsewhere.stage(task, machine.folder / "work" / "none")
    with pytest.raises(SourceError):
        machine.staging.stage(
            replace(task, checkout=TaskCheckout("f" * 40, ("code/net.py",))), machine.folder / "work" / "unknown"
        )
    blob = FileBlobStore(machine.folder / "blobs").path(dataset.files["train.parquet"].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"changed")
    with pytest.raises(BlobCorrupt):
        Staging(FileBlobStore(machine.folder / "blobs"), machine.staging.repository).stage(task, machine.folder / "c")
