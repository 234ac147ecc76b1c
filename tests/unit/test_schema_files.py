"""The JSON Schemas: in step with the models, valid, and as strict as they are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgewright.source.specs.load import load_file
from edgewright_schemas.jsonschema import ALL, schema_of
from edgewright_schemas.kinds import KINDS
from paths import ROOT
from samples.repositories import DATASET, FLEET, HEADER, MODEL, ROLLOUT, THRESHOLDS

CHECKED_IN = ROOT / "schemas" / "json"


def document(text: str) -> Any:
    return json.loads(load_file("a.yaml", text.encode()).documents[0].body)


def test_the_files_are_in_step(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "edgewright_schemas.jsonschema", str(tmp_path)], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(made) == {f"{name.lower()}.json" for name in [*KINDS, ALL]}
    assert made == {path.name: path.read_text() for path in CHECKED_IN.iterdir()}, "run `make schemas`"


@pytest.mark.parametrize("kind", [*KINDS, ALL])
def test_the_schemas_are_valid_and_say_their_dialect(kind: str) -> None:
    schema = schema_of(kind)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def test_descriptions_come_from_the_docstrings() -> None:
    schema = schema_of("Dataset")
    assert schema["description"] == "Data, from its source to its splits."
    slices = schema["$defs"]["DatasetSpec"]["properties"]["slices"]
    assert slices["description"] == "Columns whose values divide the evaluation."


@pytest.mark.parametrize("text", [DATASET, MODEL, THRESHOLDS, FLEET, ROLLOUT])
def test_what_is_valid_is_so_for_editors(text: str) -> None:
    value = document(text)
    for kind in (value["kind"], ALL):
        assert list(Draft202012Validator(schema_of(kind)).iter_errors(value)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Modell"},
        {"extra": 1},
        {"apiVersion": "v1"},
        {"metadata": {"name": "Not A Name"}},
        {"spec": {"task": "regression", "dataset": "a", "architecture": {"use": "mlp"}, "thersholds": "a"}},
    ],
)
def test_what_is_wrong_is_so_for_editors(change: dict[str, Any]) -> None:
    value = document(MODEL) | change
    assert not Draft202012Validator(schema_of(ALL)).is_valid(value)


def test_a_document_must_say_its_version() -> None:
    value = document(HEADER + "kind: Repository\nmetadata: {name: a}\n")
    del value["apiVersion"]
    assert not Draft202012Validator(schema_of("Repository")).is_valid(value)
