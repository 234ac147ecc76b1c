"""An int8 variant that computes something else than its model is mended or refused, and says why."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.facts import parse_facts
from edgewright.core.gates import GateOutcome
from edgewright.core.planning.builds import why_refused
from edgewright.core.planning.fingerprint import export_components
from edgewright.core.planning.workbench import Node
from edgewright.errors import StepFailed
from edgewright.pipeline.export.onnx_runtime import OnnxModel
from edgewright.pipeline.export.step import build
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec
from samples.model_steps import IMPORTED, int8, made_onnx, step, table_rows
from samples.training_data import DatasetFiles

RNG = np.random.default_rng(1)
FEATURES = RNG.normal(size=(300, 6))
LAYER = {"w": RNG.normal(size=(6, 4)).astype(np.float32), "b": RNG.normal(size=4).astype(np.float32)}
REGRESSION = {**IMPORTED, "task": "regression"}


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def model(
    path: Path, nodes: Sequence[onnx.NodeProto], outputs: int, weights: dict[str, Any], opset: int = 17
) -> Built[Any]:
    """Write a model of these nodes from ``x`` (n, 6) to ``y`` (n, outputs)."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 6), ("y", outputs))
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "model", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 7
    onnx.save(made, str(path))
    return made_onnx(path)


def clamped(path: Path, after: str = "Identity") -> Built[Any]:
    """A layer whose output is clamped to 1…6."""
    nodes = [node("Gemm", "x w b", "g"), node("Clip", "g low high", "c"), node(after, "c", "y")]
    weights = {**LAYER, "w": LAYER["w"][:, :1] * 3, "b": np.array([2.0], np.float32)}
    return model(path, nodes, 1, {**weights, "low": np.float32(1.0), "high": np.float32(6.0)})


def boxes_and_scores(path: Path) -> Built[Any]:
    """A head that joins four boxes, in pixels, and three scores."""
    scores = {"v": RNG.normal(size=(6, 3)).astype(np.float32), "d": RNG.normal(size=3).astype(np.float32)}
    nodes = [
        *(node("Gemm", "x w b", "g"), node("Sigmoid", "g", "share"), node("Mul", "share width", "boxes")),
        *(node("Gemm", "x v d", "h"), node("Sigmoid", "h", "scores"), node("Concat", "boxes scores", "y", axis=1)),
    ]
    return model(path, nodes, 7, {**LAYER, **scores, "width": np.float32(640)})


def sizes(path: Path) -> Built[Any]:
    """One layer whose outputs have different sizes: nothing can be left in float."""
    weights = {"w": LAYER["w"] * np.array([640, 640, 1, 1], np.float32), "b": LAYER["b"]}
    return model(path, [node("Gemm", "x w b", "y")], 4, weights)


def export(folder: Path, made: Built[Any], spec: dict[str, Any], **quantization: Any) -> Built[Any]:
    data: DatasetFiles = table_rows(folder / "data", FEATURES, [0.0] * len(FEATURES), None)
    return build(step(Action.EXPORT, folder / "work", spec | int8(**quantization), {"model": made, "dataset": data}))


def outputs(built: Built[Any], variant: str) -> Any:
    return OnnxModel(built.files[f"model.{variant}.onnx"]).run(FEATURES.astype(np.float32))


@pytest.mark.parametrize("after", ["Identity", "Log", "Reciprocal"])
def test_a_clamp_whose_bounds_leave_0_out_still_clamps(tmp_path: Path, after: str) -> None:
    built = export(tmp_path, clamped(tmp_path / "model.onnx", after), REGRESSION)

    exact, quantized = outputs(built, "fp32"), outputs(built, "int8")
    assert np.abs(exact - quantized).max() < 0.3
    at_the_bound = exact == {"Identity": 1.0, "Log": 0.0, "Reciprocal": 1.0}[after]
    assert at_the_bound.sum() > 50
    assert np.abs(exact - quantized)[at_the_bound].max() < 0.1
    assert built.facts.quantization.error < built.facts.quantization.bound == 0.2


def test_a_head_that_joins_boxes_and_scores_keeps_its_scores(tmp_path: Path) -> None:
    built = export(tmp_path, boxes_and_scores(tmp_path / "model.onnx"), REGRESSION)

    exact, quantized = outputs(built, "fp32"), outputs(built, "int8")
    assert (np.sqrt(np.square(exact - quantized).mean(axis=0)) / exact.std(axis=0)).max() < 0.1
    assert built.facts.quantization.float_tail is True


def test_outputs_that_one_scale_cannot_hold_are_refused_with_what_helps(tmp_path: Path) -> None:
    built = export(tmp_path, sizes(tmp_path / "model.onnx"), REGRESSION)

    assert list(built.facts.variants) == ["fp32"]
    assert list(built.files) == ["model.fp32.onnx"]
    facts = built.facts.quantization
    assert facts.error > facts.bound
    assert facts.error_output in {2, 3}
    assert "share one tensor" in facts.not_possible
    assert "bring them to the same size" in facts.not_possible

    with pytest.raises(StepFailed, match="share one tensor"):
        export(tmp_path / "only", sizes(tmp_path / "again.onnx"), REGRESSION, fallback="none")


def test_the_bound_is_the_spec_s(tmp_path: Path) -> None:
    lenient = export(tmp_path / "lenient", sizes(tmp_path / "a.onnx"), REGRESSION, parity=100)
    strict = export(tmp_path / "strict", clamped(tmp_path / "b.onnx"), REGRESSION, parity=1e-6)

    assert list(lenient.facts.variants) == ["int8", "fp32"]
    assert list(strict.facts.variants) == ["fp32"]
    assert "1e-06 is allowed" in strict.facts.quantization.not_possible


def test_an_opset_without_scales_per_channel_falls_back_and_says_which_one_helps(tmp_path: Path) -> None:
    made = model(tmp_path / "model.onnx", [node("Gemm", "x w b", "y")], 4, LAYER, opset=11)

    built = export(tmp_path, made, REGRESSION)

    assert list(built.facts.variants) == ["fp32"]
    assert "it has opset 11" in built.facts.quantization.not_possible
    assert "opset 13 or a later one" in built.facts.quantization.not_possible


def scikit_learn(folder: Path, *, twice: bool) -> Built[Any]:
    """A linear classifier as skl2onnx writes it; the default set of operators is imported twice, or not at all."""
    classifier = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "y"],
        domain="ai.onnx.ml",
        coefficients=LAYER["w"].T.ravel().tolist(),
        intercepts=LAYER["b"].tolist(),
        classlabels_ints=[0, 1, 2, 3],
        post_transform="SOFTMAX",
    )
    made = onnx.load(str(model(folder / "model.onnx", [classifier], 4, {}).files["model.onnx"]))
    del made.opset_import[:]
    sets = [("ai.onnx.ml", 1), *([("", 17), ("", 17)] if twice else [])]
    made.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sets)
    onnx.save(made, str(folder / "model.onnx"))
    return made_onnx(folder / "model.onnx")


@pytest.mark.parametrize("twice", [True, False])
def test_operators_without_an_int8_form_are_named(tmp_path: Path, twice: bool) -> None:
    built = export(tmp_path, scikit_learn(tmp_path, twice=twice), REGRESSION)

    assert built.facts.quantization.not_possible == "none of its operators (LinearClassifier) can be quantized"


def test_an_operator_set_that_is_imported_twice_is_quantized(tmp_path: Path) -> None:
    made = onnx.load(str(model(tmp_path / "model.onnx", [node("Gemm", "x w b", "y")], 4, LAYER).files["model.onnx"]))
    made.opset_import.extend([helper.make_opsetid("ai.onnx", 17)])
    onnx.save(made, str(tmp_path / "model.onnx"))

    built = export(tmp_path, made_onnx(tmp_path / "model.onnx"), REGRESSION)

    assert list(built.facts.variants) == ["int8", "fp32"]


def test_a_grouped_transposed_convolution_stays_in_float_and_the_rest_is_quantized(tmp_path: Path) -> None:
    weights = {**LAYER, "k": RNG.normal(size=(4, 2, 1, 2)).astype(np.float32), "e": np.ones(4, np.float32)}
    nodes = [
        *(node("Gemm", "x w b", "g"), node("Relu", "g", "r"), node("Reshape", "r picture", "p")),
        *(node("ConvTranspose", "p k e", "t", group=2), node("Reshape", "t row", "y")),
    ]
    shapes = {"picture": np.array([-1, 4, 1, 1]), "row": np.array([-1, 8])}

    built = export(tmp_path, model(tmp_path / "model.onnx", nodes, 8, {**weights, **shapes}), REGRESSION)

    assert list(built.facts.variants) == ["int8", "fp32"]
    assert built.facts.quantization.error < 0.1


def test_a_spec_without_a_bound_has_the_fingerprint_it_had() -> None:
    spec = ModelSpec.model_validate({**IMPORTED, **int8()})
    declared = ModelSpec.model_validate({**IMPORTED, **int8(parity=0.1)})

    assert "package.quantization.parity" not in export_components(spec, "m", "d", {})
    assert export_components(declared, "m", "d", {})["package.quantization.parity"] == "0.1"


def test_what_is_packaged_instead_of_int8_has_the_true_reason() -> None:
    def exported(**quantization: str) -> Node:
        facts = {
            "variants": {"fp32": {"digest": "", "size": 1, "precision": "float32"}},
            "parity": {},
            "inputName": "x",
            "outputName": "y",
            "inputShape": [6],
            "inputType": "float32",
            "quantization": {"mode": "static-int8", "calibrationSamples": 1, **quantization},
        }
        return Node("f", Artifact("f", Action.EXPORT, Address("model", "m"), "", {}, parse_facts("export", facts)))

    absent = [GateOutcome("int8 is evaluated", None, None, None, "no evidence")]
    assert why_refused("int8", exported(notPossible="it has opset 11"), absent) == "int8 was not made: it has opset 11"
    failed = [GateOutcome("accuracy ≥ 0.9", False, 0.5, 0.9)]
    assert why_refused("fp32", exported(), failed) == "fp32 fails accuracy ≥ 0.9: 0.5"
