import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from ruamel.yaml import YAML

from edgewright.core.artifact import Action
from edgewright.core.facts import EvaluationFacts, ExportFacts
from edgewright.durable import digest_file
from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.step import build as evaluate
from edgewright.pipeline.packaging.golden import npz_bytes
from edgewright.pipeline.packaging.manifest import size_text
from edgewright.pipeline.packaging.step import build
from edgewright.pipeline.tasks.registry import task_of
from edgewright.ports import Built
from edgewright_agent.models.packages import read_package
from edgewright_agent.probing.golden import probe_slot
from edgewright_agent.runtime import OnnxRuntime
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.package import layers_by_path
from samples.model_steps import IMPORTED, linear_onnx, step, table_rows
from samples.training_data import DatasetFiles

CLASSES = ["a", "b|x", "c"]
WEIGHTS = np.array([[1.0, 0, 0.5], [0, 1, 0], [0.25, 0, 1]])
PARTS = ["model.onnx", "golden.npz", "labels.json", "README.md"]


def exported(path: Path) -> Built[Any]:
    fact = {"digest": digest_file(path), "size": path.stat().st_size, "precision": "float32"}
    facts = {
        "variants": {"fp32": fact},
        "parity": {},
        "inputName": "rows",
        "outputName": "scores",
        "inputShape": [3],
        "inputType": "float32",
        "parameters": 9,
    }
    return Built("sha256:" + "5" * 64, {"model.fp32.onnx": path}, ExportFacts.from_json(facts))


@pytest.fixture
def data(tmp_path: Path) -> DatasetFiles:
    rng = np.random.default_rng(2)
    labels = [CLASSES[i % 3] for i in range(30)]
    light = ["dark\nroom" if i % 2 else "bright" for i in range(30)]
    return table_rows(tmp_path / "data", rng.normal(size=(30, 3)), labels, CLASSES, {"light": light})


@pytest.fixture
def roles(tmp_path: Path, data: DatasetFiles) -> dict[str, Built[Any] | DatasetFiles]:
    made = exported(linear_onnx(tmp_path / "model.onnx", WEIGHTS))
    roles: dict[str, Built[Any] | DatasetFiles] = {"export": made, "dataset": data}
    return {**roles, "evaluation": evaluate(step(Action.EVALUATE, tmp_path / "evaluation", IMPORTED, roles))}


def package(folder: Path, roles: dict[str, Built[Any] | DatasetFiles], **params: Any) -> Built[Any]:
    given = {"variant": "fp32", "name": "reader", **params}
    return build(step(Action.PACKAGE, folder, IMPORTED, roles, **given))


def slot(folder: Path, built: Built[Any]) -> Path:
    """What an agent stages of a package."""
    folder.mkdir()
    for name, _ in read_package(built.files["manifest.json"].read_bytes()).files:
        (folder / name).write_bytes(built.files[name].read_bytes())
    (folder / "manifest.json").write_bytes(built.files["manifest.json"].read_bytes())
    return folder


def test_a_device_proves_the_package_with_its_golden_samples(
    tmp_path: Path, roles: dict[str, Built[Any] | DatasetFiles]
) -> None:
    built = package(tmp_path / "work", roles)

    outcome = probe_slot(slot(tmp_path / "slot", built), OnnxRuntime())
    assert (outcome.passed, outcome.samples, outcome.atol, outcome.max_error) == (True, 16, 0.05, 0.0)

    other = slot(tmp_path / "other", built)
    linear_onnx(other / "model.onnx", WEIGHTS * 1.5)
    assert probe_slot(other, OnnxRuntime()).reason == "ProbeMismatch"


def test_the_manifest_names_every_part_by_digest(tmp_path: Path, roles: dict[str, Built[Any] | DatasetFiles]) -> None:
    built = package(tmp_path / "work", roles)

    content = built.files["manifest.json"].read_bytes()
    manifest = json.loads(content)
    layers = layers_by_path(manifest)
    assert list(layers) == PARTS
    for name, descriptor in {**layers, "config.json": manifest["config"]}.items():
        part = built.files[name].read_bytes()
        assert (descriptor["digest"], descriptor["size"]) == (digest_bytes(part), len(part))
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["annotations"] == {
        "dev.edgewright.golden.atol": "0.05",
        "dev.edgewright.task": "tabular-classification",
        "dev.edgewright.input": "rows",
        "dev.edgewright.output": "scores",
    }
    metadata = json.loads(layers["model.onnx"]["annotations"]["org.cncf.model.file.metadata+json"])
    assert metadata["size"] == built.files["model.onnx"].stat().st_size
    assert built.digest == built.facts.manifest_digest == digest_bytes(content)
    assert built.facts.manifest_size == len(content)
    assert built.facts.package_size == sum(path.stat().st_size for path in built.files.values())
    assert built.facts.size_bytes == len(built.files["model.onnx"].read_bytes())
    assert json.loads(built.files["labels.json"].read_bytes()) == CLASSES


def test_the_config_holds_only_what_modelpack_allows(
    tmp_path: Path, roles: dict[str, Built[Any] | DatasetFiles]
) -> None:
    built = package(tmp_path / "work", roles, revision="abc123", title="Reader")

    config = json.loads(built.files["config.json"].read_bytes())
    assert config == {
        "descriptor": {"name": "reader", "title": "Reader", "revision": "abc123"},
        "config": {
            "format": "onnx",
            "paramSize": "9",
            "precision": "float32",
            "capabilities": {"inputTypes": ["other"], "outputTypes": ["other"]},
        },
        "modelfs": {"type": "layers", "diffIds": [digest_file(built.files[name]) for name in PARTS]},
    }


def test_the_same_inputs_give_the_same_package_although_latencies_differ(
    tmp_path: Path, roles: dict[str, Built[Any] | DatasetFiles]
) -> None:
    measured_again = evaluate(step(Action.EVALUATE, tmp_path / "again", IMPORTED, roles))

    first, second = package(tmp_path / "one", roles), package(tmp_path / "two", {**roles, "evaluation": measured_again})

    assert first.digest == second.digest
    for name, path in first.files.items():
        assert path.read_bytes() == second.files[name].read_bytes()
    with zipfile.ZipFile(first.files["golden.npz"]) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_model_card_has_figures_slices_and_front_matter(
    tmp_path: Path, roles: dict[str, Built[Any] | DatasetFiles]
) -> None:
    built = package(tmp_path / "work", roles)

    evaluation = cast(EvaluationFacts, roles["evaluation"].facts).variants["fp32"]
    _, front, body = built.files["README.md"].read_text().split("---\n", 2)
    matter = YAML(typ="safe").load(front)
    (result,) = matter["model-index"][0]["results"]
    assert matter["pipeline_tag"] == result["task"]["type"] == "tabular-classification"
    measured = {name: value for name, value in evaluation["overall"].items() if value is not None}
    assert {m["name"]: m["value"] for m in result["metrics"]} == measured
    assert "top5Accuracy" not in measured, "of three classes there is none"
    assert result["dataset"]["split"] == "test"
    lines = body.splitlines()
    assert f"| accuracy | {evaluation['overall']['accuracy']:.6g} |" in lines
    (dark,) = [line for line in lines if line.startswith("| light=dark room | 15 |")]
    header = lines[lines.index(dark) - 3]
    assert dark.count("|") == header.count("|") == 3 + len(measured), "of figures that exist"
    assert "`a`, `b\\|x`, `c`" in body
    assert "Static int8" not in body


def test_a_figure_that_could_not_be_computed_is_a_dash_and_no_zero(
    tmp_path: Path, roles: dict[str, Built[Any] | DatasetFiles]
) -> None:
    evidence = json.loads(roles["evaluation"].files["evidence.json"].read_bytes())
    evidence["variants"]["fp32"]["overall"]["accuracy"] = None
    (tmp_path / "evidence.json").write_text(json.dumps(evidence))
    evaluation: Built[Any] = Built("", {"evidence.json": tmp_path / "evidence.json"}, roles["evaluation"].facts)

    card = package(tmp_path / "work", {**roles, "evaluation": evaluation}).files["README.md"].read_text()

    assert "| accuracy | – |" in card
    assert "name: accuracy" not in card


def test_only_what_was_exported_and_evaluated_is_packaged(
    tmp_path: Path, roles: dict[str, Built[Any] | DatasetFiles]
) -> None:
    with pytest.raises(StepFailed, match="the export has no variant int8"):
        package(tmp_path / "missing", roles, variant="int8")

    made = roles["export"]
    assert isinstance(made, Built)
    two = replace(made, files={**made.files, "model.int8.onnx": made.files["model.fp32.onnx"]})
    with pytest.raises(StepFailed, match="variant int8 was not evaluated"):
        package(tmp_path / "unproved", {**roles, "export": two}, variant="int8")

    other = linear_onnx(tmp_path / "other.onnx", WEIGHTS * 2)
    swapped = replace(made, files={"model.fp32.onnx": other})
    with pytest.raises(StepFailed, match="was exported and evaluated"):
        package(tmp_path / "swapped", {**roles, "export": swapped})


def test_golden_samples_without_finite_outputs_are_refused(
    tmp_path: Path, roles: dict[str, Built[Any] | DatasetFiles]
) -> None:
    bad = exported(linear_onnx(tmp_path / "bad.onnx", np.full((3, 3), np.inf)))

    with pytest.raises(StepFailed, match="no finite number for 16 of 16 golden samples"):
        package(tmp_path / "work", {**roles, "export": bad})


def test_a_regression_package_names_its_target(tmp_path: Path) -> None:
    features = np.random.default_rng(3).normal(size=(20, 3))
    data = table_rows(tmp_path / "data", features, features.sum(1).tolist(), None)
    spec = {**IMPORTED, "task": "regression", "package": {"golden": {"samples": 4, "atol": 0.5}}}
    roles: dict[str, Built[Any] | DatasetFiles] = {
        "export": exported(linear_onnx(tmp_path / "model.onnx", np.ones((3, 1)))),
        "dataset": data,
    }
    roles["evaluation"] = evaluate(step(Action.EVALUATE, tmp_path / "evaluation", spec, roles))

    built = build(step(Action.PACKAGE, tmp_path / "work", spec, roles, variant="fp32", name="length"))

    assert json.loads(built.files["labels.json"].read_bytes()) == {"target": "label"}
    assert probe_slot(slot(tmp_path / "slot", built), OnnxRuntime()).passed
    assert "pipeline_tag: tabular-regression" in built.files["README.md"].read_text()
    with np.load(built.files["golden.npz"], allow_pickle=False) as arrays:
        assert arrays["expected"].shape == (4, 1)
        spread = sorted(features.sum(1).astype(np.float32))
        assert spread[0] == pytest.approx(arrays["input"].sum(1).min(), abs=1e-5)
        assert spread[-1] == pytest.approx(arrays["input"].sum(1).max(), abs=1e-5)


def test_golden_samples_take_turns_among_the_classes() -> None:
    labels = np.array([0] * 50 + [1] * 2 + [2] * 50)

    assert list(task_of("image-classification").golden_rows(labels, 3)) == [0, 50, 52]
    chosen = task_of("image-classification").golden_rows(labels, 8)
    assert np.bincount(labels[chosen]).tolist() == [3, 2, 3]
    assert list(task_of("image-classification").golden_rows(labels, 500)) == list(range(102))


def test_arrays_are_written_as_numpy_reads_them() -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "input": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "expected": np.ones((2, 1), np.float32),
    }

    with np.load(io.BytesIO(npz_bytes(arrays)), allow_pickle=False) as read:
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("count", "text"), [(9, "9"), (5130, "5130"), (52_613, "52.6k"), (1_300_000, "1.3m"), (8_030_261_248, "8.03b")]
)
def test_parameter_counts_are_written_as_in_modelpack(count: int, text: str) -> None:
    assert size_text(count) == text
