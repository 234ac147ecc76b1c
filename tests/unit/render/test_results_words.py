"""One line says what was found: rows, classes with their counts, splits, files that were not read."""

from typing import Any

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.facts import DatasetFacts
from edgewright.core.gates import GateOutcome
from edgewright.core.status.results import ModelResults
from edgewright.render.results_words import dataset_line, results_line

MODEL = Address("model", "reader")


def facts(values: list[str] | None, **more: Any) -> DatasetFacts:
    label = {"type": "category", "values": values} if values else {"type": "number"}
    return DatasetFacts.from_json(
        {
            "columns": {"label": label},
            "features": ["a"],
            "label": "label",
            "slices": {},
            "inputShape": [1],
            "rows": {"train": 1200, "validation": 30, "test": 31},
            "contentDigest": "sha256:0",
            **more,
        }
    )


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (facts(None), "1,261 rows (1,200 train, 30 validation, 31 test)"),
        (facts(["no", "yes"]), "1,261 rows (1,200 train, 30 validation, 31 test); 2 classes of label: no, yes"),
        (
            facts(
                ["no", "yes", "maybe"],
                classRows={"train": {"no": 900, "yes": 300}, "validation": {"no": 30}, "test": {"no": 30, "yes": 1}},
                skipped={".txt": 3, "hidden": 12},
                dropped={"code/steps.py:sharp": 1},
                copies={"rows": 6},
            ),
            "1,261 rows (1,200 train, 30 validation, 31 test); 3 classes of label: no (960), yes (301), maybe (0); "
            "no rows of maybe; 15 files not read: hidden (12), .txt (3); 1 row dropped: code/steps.py:sharp (1); "
            "copies: rows (6)",
        ),
        (
            facts(
                [str(k) for k in range(12)],
                classRows={"train": {str(k): 100 for k in range(12)}, "test": {"9": -95, "0": 60}},
            ),
            "1,261 rows (1,200 train, 30 validation, 31 test); 12 classes of label: 0 (160), 1 (100), 2 (100), "
            "3 (100), 4 (100), 5 (100), 6 (100), 7 (100) and 4 more",
        ),
    ],
)
def test_a_dataset_in_a_line(found: DatasetFacts, line: str) -> None:
    assert dataset_line(found) == line


def model(packaged: str | None, *passed: bool | None, thresholds: str | None = None, current: bool = True) -> str:
    variants = {
        "int8": {"overall": {"accuracy": 0.94, "f1Macro": None, "loss": 0.2}, "rows": 31},
        "fp32": {"overall": {"accuracy": 0.95, "f1Macro": 0.9, "loss": 0.1}, "rows": 31},
    }
    verdict = tuple(GateOutcome("accuracy ≥ 0.9", each, None, None) for each in passed)
    artifact = Artifact("f", Action.EVALUATE, MODEL, "sha256:1", {}, facts(None))
    dataset = Address("dataset", "tags")
    gated = bool(passed)
    return results_line(ModelResults(MODEL, artifact, variants, current, dataset, packaged, thresholds, gated, verdict))


def test_a_model_in_a_line() -> None:
    assert model("int8", True, True) == "int8 accuracy 0.94 f1Macro - on 31 test rows; 2 of 2 gates passed"
    both = "int8 accuracy 0.94 f1Macro -, fp32 accuracy 0.95 f1Macro 0.9 on 31 test rows"
    assert model(None, True, None, False) == f"{both}; 1 of 3 gates passed"
    assert model(None) == f"{both}; no gates: nothing judges it before devices"
    named = "thresholds/good has no gate on the engine's figures: nothing judges it before devices"
    assert model(None, thresholds="good") == f"{both}; {named}"
    assert model(None, current=False).startswith("before the last change: int8")
