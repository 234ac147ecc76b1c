"""Files whose spec declares an interface: what is imported takes a dataset's rows, and gives what the file means."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.planning.fingerprint import origin_components
from edgewright.durable import digest_file
from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.score_kinds import ScoreKind, score_kind
from edgewright.pipeline.evaluation.step import build as evaluate
from edgewright.pipeline.export.onnx_runtime import OnnxModel
from edgewright.pipeline.export.step import build as export
from edgewright.pipeline.imported.onnx_names import read_names
from edgewright.pipeline.imported.step import build
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.ports import Built
from edgewright_schemas.model import Interface, ModelSpec
from samples.model_steps import linear_onnx, step, table_rows
from samples.onnx_exports import passing_on, scikit_learn
from samples.training_data import start

SIZE = (2, 3)
MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 2.0)


def imported(tmp_path: Path, model: onnx.ModelProto, interface: dict[str, Any] | None) -> Built[Any]:
    repository = tmp_path / "repo"
    repository.mkdir(exist_ok=True)
    (repository / "m.onnx").write_bytes(model.SerializeToString())
    spec: dict[str, Any] = {
        "task": "image-classification",
        "dataset": "d",
        "source": {"uri": "m.onnx", "digest": digest_file(repository / "m.onnx")},
    }
    if interface is not None:
        spec["interface"] = interface
    task = StagedTask(Action.IMPORT, Address("model", "m"), "f" * 64, spec, repository, {}, {}, tmp_path / "work", {})
    return build(start(task))


def run(built: Built[Any], rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    session = onnxruntime.InferenceSession(str(built.files["model.onnx"]), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: rows})
    return np.asarray(found)


def pixel(level: int, channel: int, declared: dict[str, Any], whole: bool) -> float:
    """Bring one pixel into the form declared, as its author's code would."""
    low, high = declared.get("range", (0, 255) if whole else (0, 1))
    value: float = low + level / 255 * (high - low)
    for operator, numbers in (("-", declared.get("mean")), ("/", declared.get("std"))):
        if numbers is not None:
            number = numbers[channel] if len(numbers) > 1 else numbers[0]
            value = value - number if operator == "-" else value / number
    return round(value) if whole else value


def expected(levels: npt.NDArray[np.uint8], declared: dict[str, Any], whole: bool) -> npt.NDArray[np.float64]:
    count, channels, height, width = levels.shape
    last = declared.get("layout") == "NHWC"
    result = np.zeros((count, height, width, channels) if last else levels.shape)
    for row in range(count):
        for channel in range(channels):
            source = channels - 1 - channel if declared.get("channelOrder") == "bgr" else channel
            for y in range(height):
                for x in range(width):
                    value = pixel(int(levels[row, source, y, x]), channel, declared, whole)
                    result[(row, y, x, channel) if last else (row, channel, y, x)] = value
    return result


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("element", "declared"),
    [
        (TensorProto.FLOAT, {"mean": MEAN, "std": STD}),
        (TensorProto.FLOAT, {"range": [0, 255], "channelOrder": "bgr", "mean": [103.939, 116.779, 123.68]}),
        (TensorProto.FLOAT, {"range": [-1, 1]}),
        (TensorProto.DOUBLE, {"std": [0.5]}),
        (TensorProto.FLOAT16, {"mean": MEAN, "channelOrder": "bgr"}),
        (TensorProto.UINT8, {}),
        (TensorProto.UINT8, {"range": [0, 255], "channelOrder": "bgr"}),
        (TensorProto.INT32, {}),
        (TensorProto.INT64, {"range": [-128, 127]}),
    ],
)
@pytest.mark.parametrize("open_sizes", [False, True])
def test_a_file_is_given_pixels_in_the_form_that_is_declared(
    tmp_path: Path, layout: str, element: int, declared: dict[str, Any], open_sizes: bool
) -> None:
    levels = np.random.default_rng(1).integers(0, 256, (4, 3, *SIZE), dtype=np.uint8)
    levels[0, :, 0, :2] = [[0, 255]] * 3
    height, width = ("h", "w") if open_sizes else SIZE
    shape: list[int | str] = ["n", 3, height, width] if layout == "NCHW" else ["n", height, width, 3]
    declared = {**declared, "layout": layout}

    built = imported(tmp_path, passing_on(shape, element), {"input": declared})

    session = onnxruntime.InferenceSession(str(built.files["model.onnx"]), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert [size if isinstance(size, int) else "?" for size in taken.shape[2:]] == (
        ["?", "?"] if open_sizes else list(SIZE)
    )
    assert taken.shape[1] == 3
    rows = levels if taken.type == "tensor(uint8)" else (levels / np.float32(255)).astype(np.float32)
    whole = element in {TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64}
    assert (taken.type == "tensor(uint8)") == (element == TensorProto.UINT8)
    tolerances: dict[int, float] = {TensorProto.FLOAT16: 2e-3, TensorProto.FLOAT: 1e-4, TensorProto.DOUBLE: 1e-6}
    tolerance = tolerances.get(element, 0.0)
    np.testing.assert_allclose(run(built, rows), expected(levels, declared, whole), atol=tolerance, rtol=0)


def test_what_is_declared_as_the_dataset_has_it_leaves_the_input_alone(tmp_path: Path) -> None:
    model = passing_on(["n", 3, *SIZE])
    built = imported(tmp_path, model, {"input": {"layout": "NCHW", "channelOrder": "rgb"}})
    assert onnx.load(built.files["model.onnx"]).graph.node == model.graph.node


def test_the_same_declaration_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    interface = {"input": {"layout": "NHWC", "mean": MEAN}}
    model = passing_on(["n", *SIZE, 3])
    assert imported(first, model, interface).digest == imported(second, model, interface).digest


@pytest.mark.parametrize(
    ("shape", "element", "interface", "said"),
    [
        (["n", 3, 8, 8], TensorProto.FLOAT, {"input": {"layout": "NHWC"}}, r"layout is NHWC, but x of m.onnx is float"),
        (["n", 8, 8, 3], TensorProto.FLOAT, {"input": {}}, r"layout is NCHW, but x of m.onnx is float \['\?', 8, 8, 3"),
        (["n", 3, 8, 8], TensorProto.FLOAT, {"input": {"mean": [1, 2, 3, 4]}}, r"mean has 4 numbers, but x of m.onnx"),
        (["n", 1, 8, 8], TensorProto.FLOAT, {"input": {"channelOrder": "bgr"}}, r"channelOrder is bgr, but .* 1 chan"),
        (["n", 8], TensorProto.FLOAT, {"input": {"range": [0, 255]}}, r"input is for pictures, and x of m.onnx"),
        (["n", 3, 8, 8], TensorProto.BOOL, {"input": {}}, r"input is for pictures, and x of m.onnx is bool"),
        (["n", 3], TensorProto.FLOAT, {"output": "nothing"}, r"m.onnx has no output 'nothing'"),
    ],
)
def test_a_declaration_that_contradicts_the_file_is_refused(
    tmp_path: Path, shape: list[int | str], element: int, interface: dict[str, Any], said: str
) -> None:
    with pytest.raises(StepFailed, match=said) as caught:
        imported(tmp_path, passing_on(shape, element), interface)
    assert caught.value.hint


def test_an_old_opset_is_refused_where_nodes_would_be_added(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"m.onnx uses opset 9; spec.interface needs 11"):
        imported(tmp_path, passing_on(["n", *SIZE, 3], opset=9), {"input": {"layout": "NHWC"}})


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ({"input": {"range": [1, 0]}}, "black, then white"),
        ({"input": {"std": [0.0]}}, "std divides"),
        ({"input": {"mean": [1.0], "std": [1.0, 1.0, 1.0]}}, "mean has 1 numbers and std 3"),
        ({"decoder": "softmax"}, "class-scores"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(interface: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Interface.model_validate(interface)


def test_an_interface_without_a_source_is_refused() -> None:
    with pytest.raises(ValidationError, match="interface goes with source only"):
        ModelSpec.model_validate(
            {"task": "regression", "dataset": "d", "architecture": {"use": "mlp"}, "interface": {"output": "y"}}
        )


def test_one_of_several_outputs_is_kept_with_what_computes_it(tmp_path: Path) -> None:
    model = passing_on(["n", 3], outputs=3)
    with pytest.raises(StepFailed, match=r"has 3 outputs \(y0, y1, y2\); nothing tells which one is meant"):
        imported(tmp_path, model, {"decoder": "class-scores"})

    built = imported(tmp_path, model, {"decoder": "class-scores", "output": "y1"})

    kept = onnx.load(built.files["model.onnx"]).graph
    assert [node.name for node in kept.node] == ["n1"]
    assert [output.name for output in kept.output] == ["y1"]


@pytest.mark.parametrize("zipmap", [False, True])
def test_scikit_learn_gives_its_probabilities_and_the_names_of_its_classes(tmp_path: Path, zipmap: bool) -> None:
    built = imported(tmp_path, scikit_learn(zipmap=zipmap), {"decoder": "sklearn"})

    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.25]], np.float32)
    found = run(built, rows)

    for row, given in zip(rows.tolist(), found.tolist(), strict=True):
        first = np.exp(-row[0] + 2 * row[1] + 0.5)
        second = np.exp(row[0] - 2 * row[1] - 0.5)
        assert given == pytest.approx([first / (first + second), second / (first + second)], abs=1e-6)
    assert read_names(built.files["model.onnx"]).classes == ("apple", "pear")
    assert score_kind(built.files["model.onnx"], torch.tensor(found)) is ScoreKind.PROBABILITIES


def test_an_export_of_scikit_learn_is_evaluated_by_its_probabilities(tmp_path: Path) -> None:
    rows = np.array([[3.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.0, 1.0]])
    data = table_rows(tmp_path / "data", rows, ["pear", "apple", "pear", "pear"], ["apple", "pear"])
    spec = {
        "task": "tabular-classification",
        "dataset": "table",
        "source": {"uri": "m.onnx", "digest": "sha256:" + "0" * 64},
        "interface": {"decoder": "sklearn"},
    }
    model = imported(tmp_path, scikit_learn(zipmap=True), {"decoder": "sklearn"})
    exported = export(step(Action.EXPORT, tmp_path / "export", spec, {"model": model, "dataset": data}))

    found = evaluate(step(Action.EVALUATE, tmp_path / "evaluate", spec, {"export": exported, "dataset": data}))

    assert found.facts.variants["fp32"]["overall"]["accuracy"] == 0.75


def test_declared_scores_decide_what_numbers_leave_open(tmp_path: Path) -> None:
    model = onnx.load(linear_onnx(tmp_path / "m.onnx", np.eye(3)))
    shares = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    for decoder, kind in (("class-scores", ScoreKind.LOGITS), ("probabilities", ScoreKind.PROBABILITIES)):
        built = imported(tmp_path, model, {"decoder": decoder})
        assert score_kind(built.files["model.onnx"], shares) is kind
    with pytest.raises(StepFailed, match=r"probabilities, but they go from -4 to 9, and the middle row adds up to"):
        score_kind(built.files["model.onnx"], torch.tensor([[-4.0, 9.0, 1.0], [0.1, 0.1, 0.8]]))


def test_a_model_without_an_interface_keeps_its_fingerprint() -> None:
    source = {"uri": "m.onnx", "digest": "sha256:" + "0" * 64}
    spec = {"task": "regression", "dataset": "d", "source": source}
    assert origin_components(ModelSpec.model_validate(spec), "", {}, {}, {}) == {"source.digest": source["digest"]}
    declared = ModelSpec.model_validate({**spec, "interface": {"input": {"layout": "NHWC"}}})
    assert origin_components(declared, "", {}, {}, {})["interface.input.layout"] == '"NHWC"'


def test_whole_numbers_are_given_as_they_are_and_fractions_refused(tmp_path: Path) -> None:
    built = imported(tmp_path, passing_on(["n", 3], TensorProto.INT32), None)
    model = OnnxModel(built.files["model.onnx"])
    rows = np.array([[1.0, -2.0, 40000.0]], np.float32)
    assert model.prepare(rows).tolist() == model.run(rows).tolist() == rows.tolist()
    for wrong in (0.5, np.nan):
        with pytest.raises(StepFailed, match=r"takes whole numbers \(int32\), but the dataset's rows hold others"):
            model.run(np.array([[1.0, 2.0, wrong]], np.float32))


def test_weights_that_no_output_needs_are_left_out(tmp_path: Path) -> None:
    model = passing_on(["n", 3], outputs=2)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3), np.float32), "w"))
    model.graph.node.append(helper.make_node("Add", ["y1", "w"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 3]))
    assert imported(tmp_path, model, {"output": "y0"}).facts.parameters == 0
    assert imported(tmp_path, model, {"output": "z"}).facts.parameters == 3
