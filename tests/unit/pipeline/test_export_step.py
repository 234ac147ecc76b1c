from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgewright.core.artifact import Action
from edgewright.core.facts import ExportedVariant, QuantizationFacts
from edgewright.durable import digest_file
from edgewright.errors import StepFailed, UserCodeFailed
from edgewright.pipeline.export.onnx_export import opset_of
from edgewright.pipeline.export.quantization import choose_rows
from edgewright.pipeline.export.step import build
from edgewright.pipeline.training.module import load_trained
from edgewright.ports import Built
from samples.model_steps import CNN, IMPORTED, fresh_weights, int8, linear_onnx, made_onnx, step, table_rows
from samples.training_data import DatasetFiles, stripes

pytestmark = pytest.mark.slow


def export(folder: Path, spec: Mapping[str, Any], dataset: DatasetFiles, model: Built[Any]) -> Built[Any]:
    return build(step(Action.EXPORT, folder, spec, {"model": model, "dataset": dataset}))


def trained(tmp_path: Path, spec: Mapping[str, Any], name: str = "export", scale: float = 1.0) -> Built[Any]:
    data = stripes(tmp_path / "data")
    return export(tmp_path / name, spec, data, fresh_weights(tmp_path / "weights", spec, data, tmp_path, scale))


def table(tmp_path: Path, rows: int = 40) -> DatasetFiles:
    features = np.random.default_rng(1).normal(size=(rows, 3))
    return table_rows(tmp_path / "table", features, ["a", "b"] * (rows // 2), ["a", "b"])


def own_net(tmp_path: Path, forward: str) -> dict[str, Any]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, outputs):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(64, outputs)\n\n"
        "    def forward(self, x):\n"
        f"        {forward}\n"
    )
    return {**CNN, "architecture": {"use": "code/net.py:Net"}}


def test_the_exported_file_computes_what_torch_does_for_any_number_of_rows(tmp_path: Path) -> None:
    built = trained(tmp_path, CNN)
    data = stripes(tmp_path / "data")

    module = load_trained(CNN, tmp_path, tmp_path / "weights" / "weights.pt", data.facts)
    session = onnxruntime.InferenceSession(str(built.files["model.fp32.onnx"]))
    for rows in (1, 2, 7):
        images = np.random.default_rng(rows).random((rows, 1, 8, 8), dtype=np.float32)
        with torch.no_grad():
            expected = module(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(session.run(["output"], {"input": images})[0], expected, atol=1e-5)

    assert list(built.files) == ["model.fp32.onnx"]
    path = built.files["model.fp32.onnx"]
    assert built.facts.variants == {
        "fp32": ExportedVariant(digest=digest_file(path), size=path.stat().st_size, precision="float32")
    }
    assert 0 <= built.facts.parity["fp32"] < 1e-5
    assert {k: v for k, v in built.facts.to_json().items() if k.startswith(("input", "output"))} == {
        "inputName": "input",
        "outputName": "output",
        "inputShape": [1, 8, 8],
        "inputType": "float32",
    }


def test_exporting_twice_gives_the_same_bytes_that_say_nothing_of_where_they_were_made(tmp_path: Path) -> None:
    spec = CNN | int8()
    first, second = trained(tmp_path, spec), trained(tmp_path, spec, "again")

    assert first.digest == second.digest
    for name in ("model.fp32.onnx", "model.int8.onnx"):
        content = first.files[name].read_bytes()
        assert content == second.files[name].read_bytes()
        for told in (str(tmp_path).encode(), b".py", b"pytorch", b"onnx.quantize"):
            assert told not in content


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    assert trained(tmp_path, CNN).digest != trained(tmp_path, CNN, "scaled", scale=0.5).digest


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_the_declared_opset_is_written(tmp_path: Path, opset: int) -> None:
    built = trained(tmp_path, CNN | {"package": {"opset": opset}})

    assert opset_of(onnx.load(str(built.files["model.fp32.onnx"]))) == opset
    assert built.facts.parity["fp32"] < 1e-5


def test_int8_comes_first_with_signed_weights_per_channel_and_is_smaller(tmp_path: Path) -> None:
    spec = CNN | {"architecture": {"use": "small-cnn", "with": {"width": 16}}} | int8()
    built = trained(tmp_path, spec)

    assert list(built.facts.variants) == ["int8", "fp32"]
    assert built.facts.variants["int8"].precision == "int8"
    assert built.facts.variants["int8"].size < built.facts.variants["fp32"].size / 2
    assert 0 < built.facts.parity["int8"] < 1
    graph = onnx.load(str(built.files["model.int8.onnx"])).graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3
    assert [entry.domain for entry in onnx.load(str(built.files["model.int8.onnx"])).opset_import] == [""]
    scaled = {node.output[0]: node.input for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in convolutions:
        weights, scales, _ = scaled[node.input[1]]
        assert initializers[weights].data_type == onnx.TensorProto.INT8
        assert np.abs(onnx.numpy_helper.to_array(initializers[weights]).astype(int)).max() <= 64, "see quantize"
        assert list(initializers[scales].dims) == [initializers[weights].dims[0]]
    zero_points = {n.input[2] for n in graph.node if n.op_type == "QuantizeLinear"}
    assert {initializers[z].data_type for z in zero_points} == {onnx.TensorProto.UINT8}


def test_without_a_fallback_only_int8_is_made(tmp_path: Path) -> None:
    built = trained(tmp_path, CNN | int8("none"))

    assert list(built.facts.variants) == ["int8"]
    assert list(built.files) == ["model.int8.onnx"]


def test_what_cannot_be_quantized_is_exported_as_it_is_and_says_why(tmp_path: Path) -> None:
    model = made_onnx(linear_onnx(tmp_path / "made.onnx", np.eye(3), node="Abs"))

    built = export(tmp_path / "export", IMPORTED | int8(), table(tmp_path), model)

    assert list(built.facts.variants) == ["fp32"]
    assert "Abs" in built.facts.quantization.not_possible

    with pytest.raises(StepFailed, match=r"cannot be quantized to int8: none of its operators \(Abs\)"):
        export(tmp_path / "only", IMPORTED | int8("none"), table(tmp_path), model)


def test_an_imported_file_keeps_its_bytes_and_names_and_is_quantized_alike(tmp_path: Path) -> None:
    path = linear_onnx(tmp_path / "made.onnx", np.array([[1.0, -1], [0.5, 2], [0, 1]]))

    built = export(tmp_path / "export", IMPORTED | int8(), table(tmp_path), made_onnx(path))

    assert built.files["model.fp32.onnx"].read_bytes() == path.read_bytes()
    assert (built.facts.input_name, built.facts.output_name) == ("rows", "scores")
    assert list(built.facts.parity) == ["int8"]
    assert built.facts.parity["int8"] < 0.2
    assert replace(built.facts.quantization, error=None, error_output=None) == QuantizationFacts(
        mode="static-int8", calibration_samples=40, bound=0.5
    )
    assert 0 < built.facts.quantization.error < 0.05
    assert built.facts.parameters == 6


def test_an_imported_file_that_takes_one_row_at_a_time_is_quantized_too(tmp_path: Path) -> None:
    path = linear_onnx(tmp_path / "made.onnx", np.array([[1.0, -1], [0.5, 2], [0, 1]]), batch=1)

    built = export(tmp_path / "export", IMPORTED | int8(calibrationSamples=10), table(tmp_path), made_onnx(path))

    assert list(built.facts.variants) == ["int8", "fp32"]
    assert built.facts.quantization.calibration_samples == 10


@pytest.mark.parametrize(
    ("weights", "batch", "message"),
    [
        (np.ones((4, 2)), "n", r"takes rows of shape \(4\), but the dataset's are \(3\)"),
        (np.ones((3, 2)), 8, r"input 'rows' of model.fp32.onnx has shape \(8, 3\)"),
    ],
)
def test_an_imported_file_that_does_not_take_the_rows_is_refused(
    tmp_path: Path, weights: Any, batch: str | int, message: str
) -> None:
    path = linear_onnx(tmp_path / "made.onnx", weights, batch=batch)

    with pytest.raises(StepFailed, match=message):
        export(tmp_path / "export", IMPORTED, table(tmp_path), made_onnx(path))


def test_a_module_that_computes_something_else_once_exported_is_refused(tmp_path: Path) -> None:
    forward = "return self.head(x.flatten(1)) + (2.0 if torch.compiler.is_exporting() else 0.0)"

    with pytest.raises(StepFailed, match=r"something else than torch: largest difference 2 on 12 validation rows"):
        trained(tmp_path, own_net(tmp_path, forward))


def test_a_small_output_hides_no_difference(tmp_path: Path) -> None:
    forward = "return self.head(x.flatten(1)) * (1e-5 if torch.compiler.is_exporting() else 1e-4)"

    with pytest.raises(StepFailed, match="something else than torch"):
        trained(tmp_path, own_net(tmp_path, forward))


@pytest.mark.parametrize(
    ("forward", "error", "message"),
    [
        ("return self.head(x.flatten(1)) if x.sum() > 0 else x.flatten(1)", StepFailed, "cannot be exported to ONNX"),
        ("return [self.head(x.flatten(1))] * 2", StepFailed, "forward returns list"),
        ("return self.head(x.flatten(1)) / 0", StepFailed, "no finite number for 12 of 12 validation rows"),
        ("return self.head(x)", UserCodeFailed, r"code/net.py:10"),
    ],
)
def test_a_module_that_cannot_be_exported_is_refused_with_the_reason(
    tmp_path: Path, forward: str, error: type[StepFailed], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        trained(tmp_path, own_net(tmp_path, forward))
    assert raised.value.hint


def test_without_validation_rows_train_rows_check_and_calibrate(tmp_path: Path) -> None:
    data = table(tmp_path)
    table_rows(tmp_path / "empty", np.ones((0, 3)), [], ["a", "b"])
    data.files["validation.parquet"] = tmp_path / "empty" / "validation.parquet"
    path = linear_onnx(tmp_path / "made.onnx", np.array([[1.0, -1], [0.5, 2], [0, 1]]))

    built = export(tmp_path / "export", IMPORTED | int8(), data, made_onnx(path))

    assert built.facts.quantization.calibration_samples == 40
    assert built.facts.parity["int8"] < 0.2


def test_calibration_rows_are_chosen_by_the_seed() -> None:
    chosen = choose_rows(100, 20, seed=4)

    assert len(set(chosen)) == 20
    assert list(chosen) == sorted(chosen)
    assert list(chosen) == list(choose_rows(100, 20, seed=4))
    assert list(chosen) != list(choose_rows(100, 20, seed=5))
    assert list(choose_rows(3, 20, seed=4)) == [0, 1, 2]
