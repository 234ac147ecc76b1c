"""The order of a model's outputs and inputs is that of the dataset, or the export says that it is not known."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.core.artifact import Action
from edgewright.core.facts import DatasetFacts
from edgewright.errors import StepFailed
from edgewright.pipeline.export.step import build
from edgewright.pipeline.imported.onnx_names import FileNames, check_order, read_names
from samples.model_steps import IMPORTED, linear_onnx, made_onnx, step, table_rows

NUMBERS = tuple(str(k) for k in range(12))
AS_TEXT = tuple(sorted(NUMBERS))


def facts(values: tuple[str, ...], label: str = "category", **categories: tuple[str, ...]) -> DatasetFacts:
    columns = {name: {"type": "category", "values": list(listed)} for name, listed in categories.items()}
    return DatasetFacts.from_json(
        {
            "columns": {
                "a": {"type": "number"},
                "b": {"type": "number"},
                **columns,
                "label": {"type": label, "values": list(values)},
            },
            "features": ["a", "b", *categories],
            "label": "label",
            "slices": {},
            "inputShape": [2],
            "rows": {},
            "contentDigest": "sha256:0",
        }
    )


def classifier(path: Path, **labels: Any) -> Path:
    """A classifier as scikit-learn's converter writes it, its label cut off."""
    count = len(next(iter(labels.values())))
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            coefficients=[0.0] * count * 2,
            intercepts=[0.0] * count,
            multi_class=1,
            **labels,
        ),
        helper.make_node("Normalizer", ["raw"], ["p"], domain="ai.onnx.ml", norm="L1"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, count])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8), str(path))
    return path


def test_names_are_read_from_operators_and_metadata(tmp_path: Path) -> None:
    assert read_names(classifier(tmp_path / "i.onnx", classlabels_ints=[2, 10])).classes == ("2", "10")
    assert read_names(classifier(tmp_path / "s.onnx", classlabels_strings=["ripe", "raw"])).classes == ("ripe", "raw")
    path = linear_onnx(tmp_path / "m.onnx", np.eye(2))
    assert read_names(path) == FileNames()
    for text in ("{0: 'ripe', 1: 'raw'}", '["ripe", "raw"]', '{"1": "raw", "0": "ripe"}', "ripe, raw", "ripe\nraw\n"):
        model = onnx.load(str(path))
        helper.set_model_props(model, {"names": text, "feature_names": '["weight", "hue"]', "stride": "32"})
        onnx.save(model, str(tmp_path / "n.onnx"))
        assert read_names(tmp_path / "n.onnx") == FileNames(("ripe", "raw"), ("weight", "hue")), text


@pytest.mark.parametrize(
    ("named", "values", "found", "refused"),
    [
        (NUMBERS, AS_TEXT, True, r'file names its outputs 0, 1, 2, 3.*values: \["0", "1", "2", "3"'),
        (NUMBERS, AS_TEXT, False, "file names its outputs"),
        (NUMBERS, NUMBERS, False, ""),
        (NUMBERS, NUMBERS, True, ""),
        (("Ripe", "raw"), ("raw", "ripe"), False, r'values: \["ripe", "raw"\]'),
        (("Not_Ripe", "raw"), ("not ripe", "raw"), True, ""),
        (("apple", "pear"), ("pomme", "poire"), False, ""),
        (("apple", "pear"), ("pomme", "poire"), True, "nothing tells .* the file names apple, pear"),
        ((), ("raw", "ripe"), True, r'file names none.*values: \["raw", "ripe"\], or another order'),
        ((), AS_TEXT, True, r'values: \["0", "1", "2", "3", .*"9", "10", "11"\], or another order'),
        ((), ("raw", "ripe"), False, ""),
        (("0", "1", "2"), ("1", "2", "3"), False, ""),
        (("0", "1", "2"), ("1", "2", "3"), True, "nothing tells"),
    ],
)
def test_an_imported_models_outputs_are_declared_or_named(
    named: tuple[str, ...], values: tuple[str, ...], found: bool, refused: str
) -> None:
    columns = ["label"] if found else []
    if not refused:
        check_order(FileNames(named), facts(values), columns, always=True)
        return
    with pytest.raises(StepFailed) as caught:
        check_order(FileNames(named), facts(values), columns, always=True)
    assert re.search(refused, f"{caught.value.message} {caught.value.hint}")


def test_what_a_command_made_needs_no_declaration_unless_numbers_sort_otherwise() -> None:
    check_order(FileNames(), facts(("raw", "ripe")), ["label"], always=False)
    check_order(FileNames(), facts(NUMBERS[:10]), ["label"], always=False)
    with pytest.raises(StepFailed, match="nothing tells which output"):
        check_order(FileNames(), facts(AS_TEXT), ["label"], always=False)


def test_categories_among_the_features_are_declared_too() -> None:
    known = facts(("raw", "ripe"), lane=("1", "2"))
    check_order(FileNames(), known, [], always=True)
    with pytest.raises(StepFailed, match="which input of the model is which lane"):
        check_order(FileNames(), known, ["lane"], always=True)


def test_features_in_another_order_than_the_files_are_refused() -> None:
    known = facts(("raw", "ripe"))
    check_order(FileNames(features=("a", "b")), known, [], always=True)
    check_order(FileNames(features=("f0", "f1")), known, [], always=True)
    with pytest.raises(StepFailed, match="the file's features are b, a, and the dataset's a, b"):
        check_order(FileNames(features=("b", "a")), known, [], always=True)


def test_truth_values_and_numbers_have_one_order() -> None:
    check_order(FileNames(("0", "1")), facts(("false", "true"), "boolean"), [], always=True)


def test_the_export_of_an_imported_model_asks_for_the_order(tmp_path: Path) -> None:
    rows = table_rows(tmp_path / "data", np.eye(2).repeat(2, axis=0), ["a", "a", "b", "b"], ["a", "b"])
    roles: dict[str, Any] = {"dataset": rows, "model": made_onnx(linear_onnx(tmp_path / "m.onnx", np.eye(2)))}
    build(step(Action.EXPORT, tmp_path / "declared", IMPORTED, roles))
    with pytest.raises(StepFailed, match="nothing tells which output"):
        build(step(Action.EXPORT, tmp_path / "found", IMPORTED, roles, found=["label"]))
