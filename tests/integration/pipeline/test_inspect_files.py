"""``edgewright inspect``: what is in a file, what stands in the way of importing it, and the interface proposed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from edgewright.cli.main import app
from edgewright.pipeline.imported.inspection import inspect_file
from edgewright_schemas.model import Interface
from samples.onnx_exports import branches, linear, passing_on, scikit_learn


def inspected(tmp_path: Path, model: onnx.ModelProto) -> dict[str, Any]:
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    found = inspect_file(path)
    if found.get("interface"):
        Interface.model_validate(found["interface"])
    return found


def said(found: dict[str, Any]) -> str:
    return " | ".join(f"{each['message']} ({each['hint']})" for each in found["problems"])


def test_a_file_is_described_with_types_sizes_and_operators(tmp_path: Path) -> None:
    model = linear()
    model.metadata_props.add(key="names", value="{0: 'apple', 1: 'pear'}")

    found = inspected(tmp_path, model)

    assert found["problems"] == []
    assert found["inputs"] == [{"name": "x0", "type": "float32", "shape": ["n", 3]}]
    assert found["outputs"] == [{"name": "y0", "type": "float32", "shape": ["n", 2]}]
    assert (found["opsets"], found["parameters"], found["classes"]) == ({"ai.onnx": 18}, 8, ["apple", "pear"])
    assert found["operators"] == [{"domain": "ai.onnx", "name": "Gemm", "count": 1}]
    assert found["sizeBytes"] == (tmp_path / "m.onnx").stat().st_size
    assert found["runsIn"].startswith("onnxruntime ")


@pytest.mark.parametrize("zipmap", [False, True])
def test_scikit_learn_is_recognised(tmp_path: Path, zipmap: bool) -> None:
    found = inspected(tmp_path, scikit_learn(zipmap=zipmap))
    assert found["interface"] == {"decoder": "sklearn"}
    assert (found["unknown"], found["problems"], found["classes"]) == ([], [], ["apple", "pear"])


@pytest.mark.parametrize(
    ("shape", "element", "layout", "unknown"),
    [
        (["n", 3, "h", "w"], TensorProto.FLOAT, "NCHW", "range, mean and std"),
        (["n", 224, 224, 3], TensorProto.UINT8, "NHWC", "channelOrder"),
        (["n", 3, 3, 3], TensorProto.FLOAT, None, "tells neither NCHW nor NHWC"),
    ],
)
def test_the_layout_is_told_by_the_sizes_or_not_at_all(
    tmp_path: Path, shape: list[int | str], element: int, layout: str | None, unknown: str
) -> None:
    found = inspected(tmp_path, passing_on(shape, element))
    assert found["interface"].get("input", {}).get("layout") == layout
    assert unknown in " | ".join(found["unknown"])


def test_a_softmax_at_the_end_tells_probabilities(tmp_path: Path) -> None:
    model = linear()
    model.graph.node.append(helper.make_node("Softmax", ["y0"], ["p"], axis=1))
    model.graph.output[0].name = "p"
    assert inspected(tmp_path, model)["interface"] == {"decoder": "probabilities"}


def test_which_of_several_outputs_is_meant_is_not_guessed(tmp_path: Path) -> None:
    assert "which of y0, y1 is meant" in " | ".join(inspected(tmp_path, linear(outputs=2))["unknown"])


@pytest.mark.parametrize(
    ("shapes", "interface", "unknown"),
    [
        ({"output0": [1, 84, 8400]}, {"decoder": "yolo-v8"}, "logits"),
        ({"output0": [1, 25200, 85]}, {"decoder": "yolo-v5"}, "logits"),
        ({"output0": [1, 300, 6]}, {"decoder": "yolo-v8"}, "classes: how many"),
        (
            {"logits": [1, 100, 92], "pred_boxes": [1, 100, 4]},
            {"decoder": "detr", "outputs": {"boxes": "pred_boxes"}},
            "logits",
        ),
        (
            {"boxes": ["n", 4], "scores": ["n"], "classes": ["n"]},
            {"decoder": "boxes-scores-classes"},
            "classes: how many",
        ),
        (
            {"detection_boxes": [1, 9, 4], "detection_scores": [1, 9], "detection_classes": [1, 9]},
            {
                "decoder": "ssd",
                "outputs": {
                    "boxes": "detection_boxes",
                    "scores": "detection_scores",
                    "classes": "detection_classes",
                },
            },
            "classes: how many",
        ),
    ],
)
def test_detectors_are_recognised_by_their_outputs(
    tmp_path: Path, shapes: dict[str, list[int | str]], interface: dict[str, Any], unknown: str
) -> None:
    model = passing_on(["n", 3, 640, 640], outputs=0)
    for name, shape in shapes.items():
        sizes = [size if isinstance(size, int) else 1 for size in shape]
        zero = numpy_helper.from_array(np.zeros(1, np.float32))
        model.graph.node.append(helper.make_node("ConstantOfShape", [f"{name}_"], [name], value=zero))
        model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), f"{name}_"))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    found = inspected(tmp_path, model)

    assert {key: value for key, value in found["interface"].items() if key != "input"} == interface
    assert unknown in " | ".join(found["unknown"])
    assert found["problems"] == []


def test_an_open_size_that_is_written_as_minus_one_is_open(tmp_path: Path) -> None:
    found = inspected(tmp_path, passing_on([-1, 3, 8, 8]))
    assert found["inputs"][0]["shape"] == [None, 3, 8, 8]
    assert found["notes"] == []


def test_several_inputs_stand_in_the_way(tmp_path: Path) -> None:
    assert "m.onnx has 2 inputs (x0, x1)" in said(inspected(tmp_path, linear(inputs=2)))


def test_control_flow_is_told_and_runs(tmp_path: Path) -> None:
    found = inspected(tmp_path, branches(external=False))
    assert found["problems"] == []
    assert "control flow (If)" in found["notes"][0]


def test_an_operator_that_nobody_has_and_an_opset_of_the_future_are_told_together(tmp_path: Path) -> None:
    model = linear()
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.opset_import[0].version = 99

    told = said(inspected(tmp_path, model))

    assert "com.example.Gemm" in told
    assert "m.onnx uses opset 99, and onnx" in told


@pytest.mark.parametrize(
    ("location", "bytes_there", "problem"),
    [
        ("weights.bin", None, "is not there"),
        ("weights.bin", 10, "is cut off: 10 bytes, and weights reach to byte 24"),
        ("weights.bin", 24, None),
        ("../weights.bin", 24, "leads out of the model's folder, and is not read"),
    ],
)
def test_weights_in_other_files_are_looked_at_in_the_models_folder(
    tmp_path: Path, location: str, bytes_there: int | None, problem: str | None
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if bytes_there is not None:
        (folder / location).write_bytes(bytes(bytes_there))
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    onnx.external_data_helper.set_external_data(weights, location=location, length=24)
    weights.ClearField("raw_data")
    model = linear()
    model.graph.initializer[0].CopyFrom(weights)

    found = inspected(folder, model)

    (described,) = found["externalFiles"]
    assert described["sizeBytes"] == (bytes_there if not location.startswith("..") else None)
    assert (described["path"], described["problem"]) == (location, problem)
    assert said(found).startswith(f"m.onnx keeps weights in other files: {location} {problem}" if problem else "")
    assert bool(said(found)) == bool(problem)


def test_what_is_no_onnx_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 100)
    assert "m.onnx is no valid ONNX model" in said(inspect_file(tmp_path / "m.onnx"))


def test_the_command_prints_a_spec_to_paste_and_what_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "good.onnx").write_bytes(passing_on(["n", 8, 8, 3], TensorProto.UINT8).SerializeToString())
    (tmp_path / "bad.onnx").write_bytes(linear(inputs=2).SerializeToString())
    runner = CliRunner()

    good = runner.invoke(app, ["inspect", str(tmp_path / "good.onnx")])
    bad = runner.invoke(app, ["inspect", str(tmp_path / "bad.onnx"), "-o", "json"])

    assert good.exit_code == 0, good.output
    assert "  interface:\n    input: {layout: NHWC}\n" in good.stdout
    assert "input       x: uint8 (n, 8, 8, 3)" in good.stdout
    assert "not told: channelOrder" in good.stdout
    assert bad.exit_code == 1
    assert "2 inputs" in json.loads(bad.stdout)["problems"][0]["message"]
