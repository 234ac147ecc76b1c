"""The grammars of names and the slot layout are written down in ``edgewright_wire`` and nowhere else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from edgewright_schemas.fleet import Device
from edgewright_wire import names, slots
from edgewright_wire.messages import Assignment

ROOT = Path(__file__).parents[3]
WIRE = ROOT / "fleet/edgewright_wire"
LAYOUT = re.compile(rf"{re.escape(slots.MARKER_FILE)}|\b{slots.SLOTS}/|/{slots.MODELS}/|/{slots.ACTIVE}\b(?!/v\d)")
GRAMMAR = re.compile(r"\{0,(126|251)\}|A-Za-z0-9\._-\]\{|sha256:\[0-9a-f\]\{64\}")


def _literals(file: Path) -> Iterator[tuple[int, str]]:
    """Yield a module's string constants that are no docstrings, also the fixed parts of f-strings."""
    tree = ast.parse(file.read_text("utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


def _written(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for folder in ("engine", "fleet", "schemas", "templates"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if WIRE not in file.parents and ".venv" not in file.parts:
                found += [f"{file.relative_to(ROOT)}:{n}: {s!r}" for n, s in _literals(file) if pattern.search(s)]
    return found


def test_no_other_module_writes_the_slot_layout() -> None:
    assert _written(LAYOUT) == []


def test_no_other_module_writes_a_grammar_of_names() -> None:
    assert _written(GRAMMAR) == []


def test_no_template_writes_the_slot_layout() -> None:
    templates = sorted((ROOT / "templates/edgewright_templates/bundles").glob("*.j2"))
    assert templates
    assert [file.name for file in templates if LAYOUT.search(file.read_text("utf-8"))] == []


def test_the_update_module_for_mender_reads_the_same_layout() -> None:
    """Its scripts are plain shell that ships with the agent, and fill in no names."""
    script = (ROOT / "fleet/edgewright_agent/mender/edgewright").read_text("utf-8")
    assert f"ACTIVE=$ROOT/{slots.MODELS}/$MODEL/{slots.ACTIVE}/{slots.MARKER_FILE}\n" in script


@pytest.mark.parametrize("text", ["d", "lane-7", "A.b_c-9", "0" * 128])
def test_every_reader_takes_the_same_device_ids(text: str) -> None:
    assert names.is_device_id(text)
    assert Device(id=text).id == text
    assert Assignment(device=text, version=1).device == text


@pytest.mark.parametrize("text", ["", "-a", "a.", "../x", "a b", "a\n", "ä", "0" * 129])
def test_every_reader_refuses_the_same_device_ids(text: str) -> None:
    assert not names.is_device_id(text)
    with pytest.raises(ValidationError):
        Device(id=text)
    with pytest.raises(ValidationError):
        Assignment(device=text, version=1)


@pytest.mark.parametrize(("text", "fits"), [("price-tag.2", True), ("m" * 253, True), ("M", False), ("a\n", False)])
def test_a_model_name_is_the_same_in_specs_and_on_the_wire(text: str, fits: bool) -> None:
    assert names.is_model_name(text) is fits
    if fits:
        assert TypeAdapter(names.ModelName).validate_python(text) == text
    else:
        with pytest.raises(ValidationError):
            TypeAdapter(names.ModelName).validate_python(text)
