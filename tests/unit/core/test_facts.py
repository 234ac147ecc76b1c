"""Facts of build steps: stored JSON in and out, unknown keys kept, missing ones named where they are read."""

import json
from typing import Any

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.facts import (
    KINDS,
    DatasetFacts,
    ExportFacts,
    IncompleteFacts,
    IncompleteValue,
    PackageFacts,
    TrainingFacts,
    parse_facts,
)
from edgewright.errors import StateError
from edgewright.state import encoding

FIGURES = {"overall": {"accuracy": 0.9, "r2": None}, "slices": {"lane=1": {"accuracy": 1.0, "rows": 3}}, "rows": 9}
STORED: dict[str, dict[str, Any]] = {
    "build-dataset": {
        "columns": {"image": {"type": "image"}, "label": {"type": "category", "values": ["a", "b"]}},
        "features": ["image"],
        "label": "label",
        "slices": {"lane": ["1", "2"]},
        "inputShape": [1, 8, 8],
        "rows": {"train": 8, "validation": 1, "test": 1},
        "contentDigest": "sha256:1",
    },
    "train": {
        "epochs": 3,
        "bestEpoch": 2,
        "metrics": {"accuracy": 0.97, "loss": None},
        "parameters": 10,
        "architecture": "code/net.py:Net",
    },
    "import": {"parameters": 6},
    "command": {"parameters": 0},
    "export": {
        "variants": {"int8": {"digest": "sha256:2", "size": 9, "precision": "int8"}},
        "parity": {"int8": None},
        "inputName": "x",
        "outputName": "y",
        "inputShape": [None, 8],
        "inputType": "float32",
        "parameters": None,
        "quantization": {"mode": "static-int8", "calibrationSamples": 40, "notPossible": "no"},
    },
    "evaluate": {"variants": {"fp32": {**FIGURES, "sizeBytes": 10, "latencyP95Ms": 1.5}}},
    "package": {
        "manifestDigest": "sha256:3",
        "manifestSize": 700,
        "packageSize": 100_000,
        "variant": "int8",
        "sizeBytes": 9,
        "goldenSamples": 4,
    },
}
"""What each step stored before facts had types."""


def row(action: str, facts: dict[str, Any]) -> encoding.Row:
    body = {"files": {"f": ["sha256:4", 1]}, "facts": facts, "components": {"a": "b"}, "environment": {}}
    at = "2026-03-01T12:00:00.000000+00:00"
    return ("sha256:5", action, "model/reader", "sha256:6", 1.5, at, encoding.to_json(body))


def artifact(action: Action, facts: dict[str, Any]) -> Artifact:
    return Artifact("sha256:5", action, Address("model", "reader"), "sha256:6", {}, parse_facts(action, facts))


def test_every_build_step_is_covered() -> None:
    assert set(STORED) == set(KINDS)


@pytest.mark.parametrize("action", STORED)
def test_a_row_stored_before_is_read_and_written_back_byte_by_byte(action: str) -> None:
    before = row(action, {**STORED[action], "inputs": {"dataset": "sha256:7"}})
    read = encoding.artifact_of(before)
    assert type(read.facts) is KINDS[action]
    assert read.input("dataset") == "sha256:7"
    assert encoding.artifact_row(read) == before


@pytest.mark.parametrize("action", STORED)
def test_unknown_keys_are_kept(action: str) -> None:
    stored = {**STORED[action], "later": {"nested": [1, None]}}
    facts = parse_facts(action, stored)
    assert facts.extra == {"later": {"nested": [1, None]}}
    assert facts.to_json() == stored


def test_unknown_keys_of_what_is_nested_are_kept() -> None:
    stored = json.loads(json.dumps(STORED["build-dataset"]))
    stored["columns"]["label"]["unit"] = "EUR"
    facts = DatasetFacts.from_json(stored)
    assert facts.columns["label"].extra == {"unit": "EUR"}
    assert facts.to_json() == stored


def test_a_missing_key_is_an_error_where_it_is_read_and_names_artifact_and_key() -> None:
    stored = {key: value for key, value in STORED["package"].items() if key != "manifestSize"}
    read = encoding.artifact_of(row("package", stored))
    assert read.facts == IncompleteFacts(problem="has no 'manifestSize'", extra=stored)
    assert encoding.artifact_of(encoding.artifact_row(read)) == read, "what cannot be used is kept as it is"
    with pytest.raises(StateError, match=r"the recorded package of model/reader has no 'manifestSize'"):
        read.facts_as(PackageFacts)


@pytest.mark.parametrize(
    ("key", "value"), [("epochs", "three"), ("epochs", True), ("metrics", [1]), ("architecture", 7), ("epochs", None)]
)
def test_an_unusable_value_is_named(key: str, value: object) -> None:
    with pytest.raises(IncompleteValue, match=key):
        TrainingFacts.from_json({**STORED["train"], key: value})


def test_facts_of_another_step_are_refused() -> None:
    with pytest.raises(StateError, match="the recorded train of model/reader has TrainingFacts"):
        artifact(Action.TRAIN, STORED["train"]).facts_as(ExportFacts)


def test_an_input_that_is_not_recorded_is_named() -> None:
    with pytest.raises(StateError, match="the recorded package of model/reader names no input 'export'"):
        artifact(Action.PACKAGE, STORED["package"]).input("export")
