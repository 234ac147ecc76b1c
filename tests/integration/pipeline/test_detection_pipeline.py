"""Squares and discs, from pixels to a package that a device proves."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.core.artifact import Action
from edgewright.core.gates import choose_variant
from edgewright.pipeline.evaluation import step as evaluating
from edgewright.pipeline.export import step as exporting
from edgewright.pipeline.packaging import step as packaging
from edgewright.pipeline.training import step as training
from edgewright.ports import Built
from edgewright_agent.models.packages import read_package
from edgewright_agent.probing.golden import probe_slot
from edgewright_agent.runtime import OnnxRuntime
from edgewright_schemas.thresholds import Gate
from samples.model_steps import step
from samples.shapes import shapes
from samples.training_data import DatasetFiles, start, train_task

SPEC: dict[str, Any] = {
    "task": "object-detection",
    "dataset": "shapes",
    "architecture": {"use": "small-detector", "with": {"width": 12}},
    "training": {
        "epochs": 9,
        "batchSize": 16,
        "learningRate": 0.005,
        "earlyStopping": {"metric": "map", "patience": 9},
    },
    "package": {"quantization": {"mode": "static-int8"}},
}
GATES = [
    Gate(metric="ap50", min=0.8),
    Gate(metric="countMae", max=0.6, confidence=0.95),
    Gate.model_validate({"metric": "countMae", "max": 0.6, "slice": {"lane": "*"}, "minSupport": 20}),
    Gate(metric="falseAlarmsPerEmptyFrame", max=0.3),
]


@pytest.mark.timeout(240)
def test_objects_are_learned_counted_packaged_and_proved_on_a_device(tmp_path: Path) -> None:
    data = shapes(tmp_path / "data")

    trained = training.build(start(train_task(tmp_path / "train", data, SPEC)))
    exported = exporting.build(step(Action.EXPORT, tmp_path / "export", SPEC, {"model": trained, "dataset": data}))
    roles: dict[str, Built[Any] | DatasetFiles] = {"export": exported, "dataset": data}
    evaluated = evaluating.build(step(Action.EVALUATE, tmp_path / "evaluate", SPEC, roles, resampled=["countMae"]))
    choice = choose_variant(("int8", "fp32"), GATES, evaluated.facts.variants, None)
    assert choice.variant == "int8", choice
    built = packaging.build(
        step(
            Action.PACKAGE,
            tmp_path / "package",
            SPEC,
            roles | {"evaluation": evaluated},
            variant="int8",
            name="shapes",
        )
    )

    evidence = json.loads(evaluated.files["evidence.json"].read_bytes())
    assert evidence["agreementWithFp32"]["int8"]["sameObjects"] > 0.9
    assert evidence["classes"] == ["square", "disc"]
    assert min(each["ap50"] for each in evidence["variants"]["int8"]["perClass"]) > 0.7
    slot = tmp_path / "slot"
    slot.mkdir()
    for name, _ in read_package(built.files["manifest.json"].read_bytes()).files:
        (slot / name).write_bytes(built.files[name].read_bytes())
    (slot / "manifest.json").write_bytes(built.files["manifest.json"].read_bytes())
    outcome = probe_slot(slot, OnnxRuntime())
    assert (outcome.passed, outcome.samples) == (True, 16), outcome.message
    assert json.loads((slot / "labels.json").read_bytes()) == ["square", "disc"]
