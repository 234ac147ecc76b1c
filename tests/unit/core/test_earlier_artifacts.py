"""Artifacts of earlier builders stay, unless their figures tell that they may be wrong."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.facts import ExportFacts, QuantizationFacts, parse_facts
from edgewright.core.planning.earlier import corrected, earlier_fingerprint, int8_astray
from edgewright.core.planning.fingerprint import (
    dataset_components,
    evaluate_components,
    export_components,
    fingerprint,
    origin_components,
    package_components,
)
from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import BuildDataset, Evaluate
from edgewright.core.planning.workbench import Node, Workbench
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.dataset import DatasetSpec
from edgewright_schemas.model import ModelSpec
from edgewright_schemas.thresholds import Gate

MODEL = Address("model", "reader")
EXPORTED: dict[str, Any] = {
    "variants": {},
    "parity": {},
    "inputName": "x",
    "outputName": "y",
    "inputShape": [1],
    "inputType": "float32",
    "parameters": 1,
}


def artifact(action: Action, facts: Mapping[str, Any], **components: str) -> Artifact:
    return Artifact("f", action, MODEL, "sha256:1", {}, parse_facts(action.value, facts), components)


def dataset(classes: int = 0) -> Artifact:
    label: dict[str, Any] = {"type": "category", "values": [str(k) for k in range(classes)]}
    facts = {
        "columns": {"label": label if classes else {"type": "number"}},
        "features": [],
        "label": "label",
        "slices": {},
        "inputShape": [1],
        "rows": {},
        "contentDigest": "sha256:0",
    }
    return artifact(Action.BUILD_DATASET, facts)


def evaluation(overall: Mapping[str, Any], slices: Mapping[str, Any] | None = None) -> Artifact:
    return artifact(Action.EVALUATE, {"variants": {"fp32": {"overall": dict(overall), "slices": dict(slices or {})}}})


@pytest.mark.parametrize(
    ("overall", "slices", "classes", "wrong"),
    [
        ({"mae": 0.1, "rmse": 0.2, "r2": 0.93}, {}, 0, ""),
        ({"mae": 1e-4, "rmse": 2e-4, "r2": 1.0}, {}, 0, "r2 of small numbers"),
        ({"mae": 0.1, "rmse": 0.2, "r2": 0.9}, {"lane=1": {"r2": 0.0}}, 0, "r2 of small numbers"),
        ({"accuracy": 0.97, "loss": 0.12}, {}, 3, ""),
        ({"accuracy": 0.97, "loss": 0.58}, {}, 3, "probabilities"),
        ({"accuracy": 0.6, "loss": 0.9}, {}, 3, ""),
        ({"accuracy": None, "loss": None}, {}, 3, ""),
    ],
)
def test_evidence_is_measured_again_only_where_its_figures_may_be_wrong(
    overall: Mapping[str, Any], slices: Mapping[str, Any], classes: int, wrong: str
) -> None:
    found = corrected(evaluation(overall, slices), {"dataset": dataset(classes)}, {})

    assert found.startswith(wrong) and bool(found) == bool(wrong)


@pytest.mark.parametrize(
    ("atol", "overall", "wrong"),
    [
        ("0.05", {"rmse": 3.0, "r2": 0.8}, False),
        ("0.05", {"rmse": 0.0002, "r2": 0.5}, True),
        ("0.00001", {"rmse": 0.0002, "r2": 0.5}, False),
        ("0.05", {"accuracy": 0.9, "loss": 0.3}, False),
        ("0.05", {"accuracy": 0.1, "loss": 4.6}, True),
        ("0.05", {"rmse": 0.0002, "r2": None}, False),
    ],
)
def test_a_package_is_made_again_only_where_its_tolerance_may_prove_nothing(
    atol: str, overall: Mapping[str, Any], wrong: bool
) -> None:
    facts = {"manifestDigest": "", "manifestSize": 1, "packageSize": 1, "variant": "fp32", "sizeBytes": 1}
    made = artifact(Action.PACKAGE, facts, variant="fp32", **{"package.golden.atol": atol})

    assert bool(corrected(made, {"evaluation": evaluation(overall)}, {})) is wrong


def test_a_spec_without_a_tolerance_names_the_package_that_the_first_version_made_of_it() -> None:
    spec = ModelSpec.model_validate(
        {"task": "regression", "dataset": "d", "source": {"uri": "m.onnx", "digest": "sha256:" + "0" * 64}}
    )
    components = package_components("reader", spec, "fp32", "e", "d", "v")

    then = {**components, "package.golden.atol": "0.05"}
    assert earlier_fingerprint(Action.PACKAGE, components) == fingerprint(Action.PACKAGE, then, 1)
    assert earlier_fingerprint(Action.PACKAGE, components) != fingerprint(Action.PACKAGE, components)
    assert earlier_fingerprint(Action.TRAIN, components) is None


@pytest.mark.parametrize("r2", [0.93, 1.0])
def test_a_plan_takes_over_what_holds_and_makes_the_rest_again_with_the_reason(r2: float) -> None:
    components = evaluate_components("regression", "e", "d")
    of = fingerprint(Action.EVALUATE, components, 1)
    made = replace(evaluation({"rmse": 0.1, "r2": r2}), fingerprint=of, components=components)
    bench = Workbench(Snapshot("c", {}), Observed(artifacts={of: made}), datetime(2026, 3, 2, tzinfo=UTC))
    inputs = {"export": Node("e", artifact(Action.EXPORT, {})), "dataset": Node("d", dataset())}

    node = bench.build(Evaluate, MODEL, components, inputs)

    if r2 < 1:
        assert (node.artifact, bench.steps) == (made, [])
        assert bench.consulted == {f"artifact {of}": made.digest}
    else:
        (step,) = bench.steps
        assert isinstance(step, Evaluate)
        assert [(r.field, r.old) for r in step.reasons] == [("corrected", "r2 of small numbers was taken for 0 or 1")]
        assert step.fingerprint == node.fingerprint == fingerprint(Action.EVALUATE, components)


@pytest.mark.parametrize(
    ("labels", "wrong"), [(["apple", "pear"], ""), (["test", "Train", "val"], "the folders test, ")]
)
def test_datasets_of_folders_stay_unless_their_labels_are_splits(labels: list[str], wrong: str) -> None:
    spec = DatasetSpec.model_validate(
        {
            "source": {"uri": "data", "format": "image-folder"},
            "columns": {"image": {"type": "image"}, "label": {"type": "category"}},
        }
    )
    components = dataset_components(spec, "sha256:0", {})
    then = {name: text for name, text in components.items() if name != "source.reading"}
    facts = dataset().facts.to_json() | {"columns": {"label": {"type": "category", "values": labels}}}
    of = fingerprint(Action.BUILD_DATASET, then, 1)
    made = replace(artifact(Action.BUILD_DATASET, facts), fingerprint=of, components=then)
    bench = Workbench(Snapshot("c", {}), Observed(artifacts={of: made}), datetime(2026, 3, 2, tzinfo=UTC))

    node = bench.build(BuildDataset, made.address, components, {})

    assert corrected(made, {}, components).startswith(wrong) and (node.artifact == made) is not bool(wrong)
    assert [step.reasons[0].field for step in bench.steps if isinstance(step, BuildDataset)] == ["corrected"] * bool(
        wrong
    )


@pytest.mark.parametrize(
    ("rmse", "bound", "astray"),
    [(0.5, None, False), (0.51, None, False), (0.9, None, True), (0.9, 0.2, False), (None, None, False)],
)
def test_int8_that_was_never_judged_is_judged_by_what_it_added_to_the_error(
    rmse: float | None, bound: float | None, astray: bool
) -> None:
    facts = ExportFacts(
        variants={},
        parity={},
        input_name="x",
        output_name="y",
        input_shape=(1,),
        input_type="float32",
        quantization=QuantizationFacts(mode="static-int8", calibration_samples=1, bound=bound),
    )
    evidence: dict[str, Any] = {"int8": {"overall": {"rmse": rmse}}, "fp32": {"overall": {"rmse": 0.5, "r2": 0.75}}}

    found = int8_astray(facts, evidence, 0.2)

    # The label's deviation is 1: int8 adds a mean square of 0.56.
    assert found == ("int8 outputs are off by about 0.75 of what the label varies; 0.2 is allowed" if astray else "")


def table(order: list[str], **columns: Any) -> DatasetSpec:
    declared = {name: {"type": "number"} for name in order} | {"label": {"type": "category", **columns}}
    return DatasetSpec.model_validate({"source": {"uri": "t.csv", "format": "csv"}, "columns": declared})


def test_another_order_of_a_tables_columns_is_another_dataset() -> None:
    spec, turned = table(["a", "b"]), table(["b", "a"])
    components = dataset_components(spec, "sha256:0", {})
    then = {name: text for name, text in components.items() if name != "columns.order"}
    of = fingerprint(Action.BUILD_DATASET, then, 1)
    made = replace(artifact(Action.BUILD_DATASET, dataset().facts.to_json() | {"features": ["a", "b"]}), fingerprint=of)
    assert "columns.order" not in dataset_components(table(["a"]), "sha256:0", {})

    for declared, kept in ((spec, True), (turned, False)):
        bench = Workbench(Snapshot("c", {}), Observed(artifacts={of: made}), datetime(2026, 3, 2, tzinfo=UTC))
        node = bench.build(BuildDataset, made.address, dataset_components(declared, "sha256:0", {}), {})
        assert (node.artifact == made, len(bench.steps)) == (kept, not kept)


@pytest.mark.parametrize(
    ("values", "wrong"),
    [(["cat", "dog"], ""), (["0", "1", "2"], ""), (["0", "1", "10", "2"], "label was taken as 0, 1, 10")],
)
def test_an_export_from_elsewhere_is_made_again_where_classes_are_numbers_in_the_order_of_text(
    values: list[str], wrong: str
) -> None:
    source = {"uri": "m.onnx", "digest": "sha256:" + "0" * 64}
    spec = ModelSpec.model_validate({"task": "tabular-classification", "dataset": "d", "source": source})
    components = export_components(spec, "m", "d", {}, table(["a"]))
    plain = export_components(spec, "m", "d", {}, table(["a"], values=values))
    label = {"columns": {"label": {"type": "category", "values": values}}}
    data = artifact(Action.BUILD_DATASET, dataset().facts.to_json() | label)

    assert earlier_fingerprint(Action.EXPORT, components) == fingerprint(Action.EXPORT, plain)
    found = corrected(artifact(Action.EXPORT, EXPORTED), {"dataset": data}, components)
    assert found.startswith(wrong) and bool(found) == bool(wrong)


def test_code_that_reads_nothing_beside_itself_has_the_fingerprint_of_before() -> None:
    spec = {"task": "regression", "dataset": "d", "architecture": {"use": "code/net.py:Net"}}
    plain = ModelSpec.model_validate(spec)
    reading = ModelSpec.model_validate({**spec, "architecture": {"use": "code/net.py:Net", "inputs": ["code/w.pt"]}})
    code, content = {"code/net.py": "sha256:1"}, {"code/w.pt": "sha256:2"}

    parts = origin_components(plain, "d", code, content, {})
    assert {name for name in parts if name.startswith(("architecture", "code:", "inputs"))} == {
        "architecture.use",
        "architecture.with",
        "code:code/net.py",
    }
    more = {"architecture.inputs": '["code/w.pt"]', "inputs:code/w.pt": "sha256:2"}
    assert origin_components(reading, "d", code, content, {}) == {**parts, **more}
    assert more.items() <= export_components(reading, "m", "d", code, None, content).items()


def test_only_gates_that_ask_for_more_have_an_evaluation_made_again() -> None:
    kept = evaluate_components("image-classification", "e", "d")

    def asked(**fields: object) -> dict[str, str]:
        components = evaluate_components("image-classification", "e", "d", [Gate.model_validate(fields)])
        return {name: text for name, text in components.items() if kept.get(name) != text}

    assert asked(metric="accuracy", min=0.9, minSupport=20) == {}
    assert asked(metric="rocAuc", min=0.9) == {"figures.added": '["rocAuc"]'}
    assert asked(metric="loss", max=1, confidence=0.9) == {"figures.resampled": '["loss"]'}
    assert asked(metric="loss", max=1, confidence=0.95) == asked(metric="loss", max=2, confidence=0.9)
