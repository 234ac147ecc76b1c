import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.gates import choose_variant
from edgewright.pipeline.executors.local import LocalExecutor
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.ports import Built
from edgewright_agent.models.packages import read_package
from edgewright_agent.probing.golden import probe_slot
from edgewright_agent.runtime import OnnxRuntime
from edgewright_schemas.thresholds import Gate
from samples.training_data import DatasetFiles, image_dataset

SPEC: dict[str, Any] = {
    "task": "image-classification",
    "dataset": "digits",
    "architecture": {"use": "small-cnn", "with": {"width": 16}},
    "training": {"epochs": 4, "batchSize": 32, "learningRate": 0.005, "seed": 1},
    "package": {"quantization": {"mode": "static-int8"}},
}


def digits(folder: Path) -> DatasetFiles:
    images, labels = load_digits(return_X_y=True)
    pixels = np.clip(images * 16, 0, 255).astype(np.uint8).reshape(-1, 1, 8, 8)
    return image_dataset(folder, pixels, labels, [str(n) for n in range(10)])


def run(action: Action, workdir: Path, roles: Mapping[str, Built[Any] | DatasetFiles], **params: Any) -> Built[Any]:
    task = StagedTask(
        action=action,
        address=Address("model", "digits"),
        fingerprint="f" * 64,
        spec=SPEC,
        checkout=workdir.parent,
        inputs={role: built.files for role, built in roles.items()},
        facts={role: built.facts for role, built in roles.items()},
        workdir=workdir,
        params=params,
    )
    return LocalExecutor(threads=1).run(task, lambda _: None, threading.Event())


@pytest.mark.timeout(180)
def test_handwritten_digits_go_from_pixels_to_a_package_that_a_device_proves(tmp_path: Path) -> None:
    data = digits(tmp_path / "data")

    trained = run(Action.TRAIN, tmp_path / "train", {"dataset": data})
    exported = run(Action.EXPORT, tmp_path / "export", {"model": trained, "dataset": data})
    again = run(Action.EXPORT, tmp_path / "again", {"model": trained, "dataset": data})
    evaluated = run(Action.EVALUATE, tmp_path / "evaluate", {"export": exported, "dataset": data})
    gates = [Gate(metric="accuracy", min=0.9), Gate(metric="sizeBytes", max=60_000)]
    choice = choose_variant(list(exported.facts.variants), gates, evaluated.facts.variants, None)
    assert choice.variant == "int8", choice
    roles: dict[str, Built[Any] | DatasetFiles] = {"export": exported, "dataset": data, "evaluation": evaluated}
    built = run(Action.PACKAGE, tmp_path / "package", roles, variant=choice.variant, name="digits")

    # Another process has another hash seed; the bytes are the same all the same.
    assert again.digest == exported.digest
    figures = evaluated.facts.variants
    assert figures["int8"]["sizeBytes"] < figures["fp32"]["sizeBytes"] / 2
    assert abs(figures["int8"]["overall"]["accuracy"] - figures["fp32"]["overall"]["accuracy"]) < 0.03
    slot = tmp_path / "slot"
    slot.mkdir()
    for name, _ in read_package(built.files["manifest.json"].read_bytes()).files:
        (slot / name).write_bytes(built.files[name].read_bytes())
    (slot / "manifest.json").write_bytes(built.files["manifest.json"].read_bytes())
    outcome = probe_slot(slot, OnnxRuntime())
    assert (outcome.passed, outcome.samples) == (True, 16), outcome.message
    assert json.loads((slot / "labels.json").read_bytes()) == [str(n) for n in range(10)]
    assert "calibrated on 180 validation rows" in built.files["README.md"].read_text()
