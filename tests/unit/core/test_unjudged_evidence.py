"""What evidence of earlier versions lacks is told once for each model, and judged again where a person asks for it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.facts import parse_facts
from edgewright.core.planning.fingerprint import evaluate_components, fingerprint
from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import Evaluate
from edgewright.core.planning.unjudged import doubt, note_unjudged
from edgewright.core.planning.workbench import Node, Workbench
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.model import Model

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MODEL = Address("model", "reader")
IMPORTED = {"source": {"uri": "m.onnx", "digest": "sha256:" + "0" * 64}}
OWN = {"architecture": {"use": "code/net.py:Net"}}
BUILT_IN = {"architecture": {"use": "mlp"}}
COMPONENTS = evaluate_components("tabular-classification", "sha256:1", "sha256:2")


def model(origin: dict[str, Any], **annotations: str) -> Model:
    return Model.model_validate(
        {
            "apiVersion": "edgewright.dev/v1alpha1",
            "kind": "Model",
            "metadata": {
                "name": "reader",
                "annotations": {f"edgewright.dev/{key}": text for key, text in annotations.items()},
            },
            "spec": {"task": "tabular-classification", "dataset": "d", **origin},
        }
    )


def made(action: Action, version: int, facts: dict[str, Any]) -> Node:
    components = COMPONENTS if action is Action.EVALUATE else {"package.golden.atol": "0.05"}
    of = fingerprint(action, components, version)
    return Node(of, Artifact(of, action, MODEL, "sha256:1", {}, parse_facts(action.value, facts), components))


def evaluation(version: int) -> Node:
    figures = {"overall": {"accuracy": 0.9, "loss": 0.3}}
    return made(Action.EVALUATE, version, {"variants": {"fp32": figures, "int8": figures}})


def told(origin: dict[str, Any], variant: str = "fp32", *, version: int = 1, bound: float | None = 0.2) -> str:
    quantization = {"mode": "static-int8", "calibrationSamples": 1, "bound": bound}
    exported = {"variants": {}, "parity": {}, "inputName": "x", "outputName": "y", "inputShape": [1]}
    export = made(Action.EXPORT, 1, {**exported, "inputType": "float32", "quantization": quantization})
    package = {"manifestDigest": "", "manifestSize": 1, "packageSize": 1, "variant": variant, "sizeBytes": 1}
    bench = Workbench(Snapshot("c", {}), Observed(), NOW)
    note_unjudged(bench, model(origin), export, evaluation(version), made(Action.PACKAGE, version, package))
    assert len(bench.notes) <= 1
    return "".join(f"{note.severity} {note.reason}: {note.message}" for note in bench.notes)


@pytest.mark.parametrize("origin", [IMPORTED, OWN])
def test_a_model_whose_rows_may_touch_each_other_is_told_once_with_what_to_do(origin: dict[str, Any]) -> None:
    found = told(origin)

    assert found.startswith(
        "warning NotJudged: an earlier version made its evidence: its rows were evaluated in batches"
    )
    assert "set metadata.annotations['edgewright.dev/evaluate']: again" in found


def test_what_todays_version_judged_or_what_cannot_be_wrong_is_not_told() -> None:
    assert told(BUILT_IN) == told(IMPORTED, version=2) == told(BUILT_IN, "int8") == ""
    assert told(BUILT_IN, bound=None) == ""  # fp32 is packaged


def test_an_int8_classifier_never_compared_output_by_output_is_told_of() -> None:
    assert "set package.quantization.parity: 0.5" in told(BUILT_IN, "int8", bound=None)


@pytest.mark.parametrize(("asked", "again"), [({}, False), ({"evaluate": "again"}, True)])
def test_evidence_is_made_again_where_the_annotation_asks_and_then_stays(asked: dict[str, str], again: bool) -> None:
    before, after = evaluation(1), evaluation(2)
    exported = made(Action.EXPORT, 1, {})
    inputs = {"export": exported, "dataset": exported}

    def planned(spec: Model, *known: Node) -> tuple[Node, list[Any]]:
        artifacts = {node.fingerprint: node.artifact for node in known if node.fingerprint and node.artifact}
        bench = Workbench(Snapshot("c", {}), Observed(artifacts=artifacts), NOW)
        return bench.build(Evaluate, MODEL, COMPONENTS, inputs, doubt=doubt(spec)), bench.steps

    node, steps = planned(model(IMPORTED, **asked), before)
    assert (node.artifact is None, len(steps)) == (again, again)
    assert [step.reasons[0].field for step in steps] == ["corrected"] * again
    # The annotation may be taken off again: what was evaluated last counts.
    for spec in (model(IMPORTED, **asked), model(IMPORTED)):
        assert planned(spec, before, after) == (after, [])
