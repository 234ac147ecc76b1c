"""A device that returns nothing of use is never verified, whatever the size of the outputs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewright.core.artifact import Action
from edgewright.core.facts import ExportedVariant, ExportFacts, PackageFacts
from edgewright.durable import digest_file
from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.step import build as evaluate
from edgewright.pipeline.packaging.step import build as package
from edgewright.pipeline.packaging.tolerance import golden_tolerance
from edgewright.ports import Built
from edgewright_agent.models.packages import read_package
from edgewright_agent.probing.golden import judge, probe_slot
from edgewright_agent.runtime import OnnxRuntime
from edgewright_schemas.model import Golden
from samples.model_steps import IMPORTED, linear_onnx, step, table_rows
from samples.training_data import DatasetFiles

REGRESSION: dict[str, Any] = {**IMPORTED, "task": "regression"}


def packaged(folder: Path, target: float, golden: Mapping[str, Any]) -> Built[Any]:
    """Package a model of a target between 0 and ``target``."""
    features = np.random.default_rng(3).random(size=(40, 3))
    weights = np.full((3, 1), target / 3)
    model = linear_onnx(folder / "model.onnx", weights)
    data = table_rows(folder / "data", features, (features @ weights).ravel().tolist(), None)
    facts = ExportFacts(
        variants={"fp32": ExportedVariant(digest=digest_file(model), size=1, precision="float32")},
        parity={},
        input_name="rows",
        output_name="scores",
        input_shape=(3,),
        input_type="float32",
    )
    spec = {**REGRESSION, "package": {"golden": dict(golden)}}
    exported: Built[Any] = Built("sha256:" + "4" * 64, {"model.fp32.onnx": model}, facts)
    roles: dict[str, Built[Any] | DatasetFiles] = {"export": exported, "dataset": data}
    roles["evaluation"] = evaluate(step(Action.EVALUATE, folder / "evaluation", spec, roles))
    return package(step(Action.PACKAGE, folder / "work", spec, roles, variant="fp32", name="loss"))


def slot(folder: Path, built: Built[Any]) -> Path:
    folder.mkdir()
    for name, _ in read_package(built.files["manifest.json"].read_bytes()).files:
        (folder / name).write_bytes(built.files[name].read_bytes())
    (folder / "manifest.json").write_bytes(built.files["manifest.json"].read_bytes())
    return folder


@pytest.mark.parametrize("target", [1e-9, 0.001, 1.0, 1000.0])
def test_runtimes_that_know_nothing_of_the_input_are_not_verified(tmp_path: Path, target: float) -> None:
    built = packaged(tmp_path, target, {})
    device = slot(tmp_path / "slot", built)
    with np.load(device / "golden.npz", allow_pickle=False) as arrays:
        expected = arrays["expected"]
    turn = iter(np.roll(expected, 1, axis=0))

    assert probe_slot(device, OnnxRuntime()).passed
    assert judge(device, lambda row: np.zeros((1, 1), np.float32), "zeros").reason == "ProbeMismatch"
    middle = np.full((1, 1), np.median(expected), np.float32)
    assert judge(device, lambda row: middle, "constant").reason == "ProbeMismatch"
    assert judge(device, lambda row: next(turn)[None], "others").reason == "ProbeMismatch"


def test_the_tolerance_is_a_tenth_of_the_spread_and_no_more_than_ever(tmp_path: Path) -> None:
    small, large = packaged(tmp_path / "small", 0.001, {}), packaged(tmp_path / "large", 1000.0, {})

    for built, least, most in ((small, 1e-5, 1e-4), (large, 0.05, 0.05)):
        annotation = json.loads(built.files["manifest.json"].read_bytes())["annotations"]["dev.edgewright.golden.atol"]
        assert least <= float(annotation) <= most
        assert PackageFacts.from_json(built.facts.to_json()).golden_atol == float(annotation)
        assert annotation in built.files["README.md"].read_text()


def test_a_declared_tolerance_means_what_it_did(tmp_path: Path) -> None:
    built = packaged(tmp_path, 10.0, {"atol": 0.25})

    assert b'"dev.edgewright.golden.atol":"0.25"' in built.files["manifest.json"].read_bytes()


def test_a_declared_tolerance_that_lets_a_constant_pass_is_refused_with_what_helps(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"devices may be off by 0\.05, so a constant would pass") as raised:
        packaged(tmp_path, 0.001, {"atol": 0.05})
    assert "lower package.golden.atol below" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("expected", "atol", "message"),
    [
        ([[0.5, 0.5]] * 4, None, "a constant would pass"),
        ([[0.1], [0.9]], 0.4, "a constant would pass"),
        ([[0.3, 0.7]], None, "one golden sample cannot tell"),
        # Far more classes than 1 / 0.05: every probability is near 0, and so are the zeros of a broken runtime.
        ((np.eye(16, 400) * 0.04).tolist(), 0.05, "a constant would pass"),
        ([[0.0], [0.4], [0.8], [1.0], [0.6], [0.2]], 0.49, "the outputs of other samples would pass"),
    ],
)
def test_a_tolerance_that_proves_nothing_is_refused(expected: Any, atol: float | None, message: str) -> None:
    with pytest.raises(StepFailed, match=message) as raised:
        golden_tolerance(Golden(atol=atol), np.array(expected, np.float32))
    assert raised.value.hint


def test_samples_of_one_class_may_be_exchanged() -> None:
    expected: npt.NDArray[np.float64] = np.array([[1.0, 0.0], [0.0, 1.0]] * 4)

    assert golden_tolerance(Golden(), expected) == 0.05
    assert golden_tolerance(Golden(atol=0.3), expected) == 0.3
