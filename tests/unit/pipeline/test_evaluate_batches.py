"""Evaluation judges a model as devices run it: one row at a time."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from torch import nn

from edgewright.core.artifact import Action
from edgewright.core.facts import ExportedVariant, ExportFacts
from edgewright.core.gates import choose_variant
from edgewright.pipeline.evaluation import batching
from edgewright.pipeline.evaluation.step import build
from edgewright.pipeline.export.onnx_export import export_module, write_model
from edgewright.ports import Built
from samples.model_steps import IMPORTED, linear_onnx, step, table_rows
from samples.training_data import DatasetFiles

CLASSES = ["a", "b", "c"]


def evaluate(folder: Path, dataset: DatasetFiles, model: Path, task: str = "tabular-classification") -> Built[Any]:
    facts = ExportFacts(
        variants={"fp32": ExportedVariant(digest="", size=0, precision="")},
        parity={},
        input_name="rows",
        output_name="scores",
        input_shape=(3,),
        input_type="float32",
    )
    exported: Built[Any] = Built("sha256:" + "4" * 64, {"model.fp32.onnx": model}, facts)
    return build(step(Action.EVALUATE, folder, {**IMPORTED, "task": task}, {"export": exported, "dataset": dataset}))


def rows(folder: Path, count: int = 90) -> DatasetFiles:
    """Rows whose class is the largest of three features."""
    truth = np.arange(count) % 3
    features = np.eye(3)[truth] * 2 + np.random.default_rng(3).normal(scale=0.2, size=(count, 3))
    return table_rows(folder, features, [CLASSES[k] for k in truth], CLASSES)


def graph_onnx(path: Path, nodes: Sequence[onnx.NodeProto], **weights: Any) -> Path:
    """Write a model of these nodes from ``rows`` (n, 3) to ``scores`` (n, 3)."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("rows", "scores")]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "model", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


def in_training_mode(path: Path) -> Path:
    """Write what torch writes of a BatchNorm1d when the module was never switched to evaluation."""
    names = ["rows", "scale", "shift", "mean", "variance"]
    node = helper.make_node(
        "BatchNormalization", names, ["scores", "newMean", "newVariance"], name="bn1", training_mode=1
    )
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    return graph_onnx(path, [node], scale=one, shift=zero, mean=zero, variance=one)


def refused(built: Built[Any]) -> str:
    """Judge without any gate; return the reason for which nothing is packaged."""
    lenient = choose_variant(["fp32"], [], built.facts.variants, None)
    assert lenient.variant is None
    (outcome,) = lenient.verdict
    assert (outcome.gate, outcome.passed) == ("single rows give what batches give", False)
    assert outcome.value is not None and outcome.value > 0.02
    # The champion's evidence holds what its single rows are worth, so that a mended model can take its place.
    overall = built.facts.variants["fp32"]["overall"]
    assert overall["accuracy"] is not None
    return outcome.detail


class OwnStatistics(nn.Module):
    """A module whose forward normalises by the batch, also in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 3)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(3))
            self.body.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(x)
        return found - found.mean(0)


def test_a_model_left_in_training_mode_is_refused_and_its_operator_named(tmp_path: Path) -> None:
    found = refused(evaluate(tmp_path / "work", rows(tmp_path / "data"), in_training_mode(tmp_path / "model.onnx")))

    assert re.search(r"accuracy 1 in batches, accuracy 0\.\d+ one row at a time, as devices run it", found)
    assert "BatchNormalization 'bn1' (training mode)" in found
    assert "module.eval()" in found


def test_a_module_with_statistics_of_the_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_model(export_module(OwnStatistics().eval(), (3,), 17), path)

    found = refused(evaluate(tmp_path / "work", rows(tmp_path / "data"), path))

    assert "depends on the rows beside it is ReduceMean" in found
    assert "training=True" in found


@pytest.mark.parametrize("count", [1, 2, batching.PROVED_ROWS + 300])
def test_neither_a_tiny_nor_a_large_test_split_hides_it(tmp_path: Path, count: int) -> None:
    largest = helper.make_node("ReduceMax", ["rows"], ["largest"], name="over-all", keepdims=1)
    scaled = helper.make_node("Div", ["rows", "largest"], ["share"])
    cubed = helper.make_node("Mul", ["share", "largest"], ["again"])
    moved = helper.make_node("Sub", ["again", "largest"], ["scores"])
    model = graph_onnx(tmp_path / "model.onnx", [largest, scaled, cubed, moved])

    assert "ReduceMax 'over-all'" in refused(evaluate(tmp_path / "work", rows(tmp_path / "data", count), model))


def test_random_outputs_are_refused(tmp_path: Path) -> None:
    noise = helper.make_node("RandomNormalLike", ["rows"], ["noise"], name="noise")
    model = graph_onnx(tmp_path / "model.onnx", [noise, helper.make_node("Add", ["rows", "noise"], ["scores"])])

    assert "RandomNormalLike 'noise'" in refused(evaluate(tmp_path / "work", rows(tmp_path / "data"), model))


def test_a_model_that_scales_each_batch_by_design_has_the_figures_of_single_rows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    write_model(export_module(module.eval(), (3,), 17), tmp_path / "float.onnx")
    quantize_dynamic(str(tmp_path / "float.onnx"), str(tmp_path / "model.onnx"))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 3)) * rng.random((300, 1)) * 5
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    each = [session.run(None, {"input": row[None].astype(np.float32)})[0][0] for row in features]
    data = table_rows(tmp_path / "data", features, [CLASSES[found.argmax()] for found in each], CLASSES)

    found = evaluate(tmp_path / "work", data, tmp_path / "model.onnx").facts.variants["fp32"]

    assert choose_variant(["fp32"], [], {"fp32": found}, None).variant == "fp32"
    assert found["overall"]["accuracy"] == 1.0
    assert found["rowByRow"]["operator"].startswith("DynamicQuantizeLinear")
    assert found["rowByRow"]["batchDifference"] > 0.001


def test_nothing_is_said_of_a_model_whose_rows_do_not_touch(tmp_path: Path) -> None:
    model = linear_onnx(tmp_path / "model.onnx", np.eye(3), softmax=True)

    built = evaluate(tmp_path / "work", rows(tmp_path / "data"), model)

    assert "rowByRow" not in built.facts.variants["fp32"]
    assert "rowByRow" not in json.loads(built.files["evidence.json"].read_bytes())["variants"]["fp32"]
