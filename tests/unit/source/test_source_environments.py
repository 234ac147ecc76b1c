"""What holds for every overlay and every value: merging, substitution, and where problems are said to be."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import SourceError, SpecError
from edgewright.source.cache import Cache
from edgewright.source.specs.assemble import assemble
from edgewright.source.specs.overlays import merged
from edgewright.source.specs.substitution import Values, fill, fill_text, uses
from edgewright.source.specs.yaml_nodes import Node, read_documents
from edgewright.source.trees import Tree
from fakes.source import MemoryObjects
from harness.profiles import examples
from samples.repositories import FILES, HEADER

TEXTS = st.text(st.characters(max_codepoint=0xD7FF), max_size=6)
"""JSON, which tests write documents in, escapes what is above in two halves; YAML has no such thing."""
NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=2) | st.dictionaries(NAMES, below, max_size=3), max_leaves=8
)
MAPPINGS = st.dictionaries(NAMES, VALUES, max_size=3)
LAYERS = st.dictionaries(NAMES, st.dictionaries(NAMES, st.integers(0, 9), max_size=3), max_size=3)
"""Mappings that agree on which fields are mappings, and remove nothing."""


def node(value: Any, path: str = "a.yaml") -> Node:
    (root, _), *_ = read_documents(path, json.dumps(value))[0]
    return root


def merge(base: Any, *patches: Any) -> Any:
    return merged(node(base), [node(patch) for patch in patches]).plain()


@given(MAPPINGS, MAPPINGS)
def test_an_overlay_applied_twice_is_applied_once(base: Any, patch: Any) -> None:
    assert merge(base, patch, patch) == merge(base, patch)
    assert merged(None, [node(patch), node(patch)]).plain() == merged(None, [node(patch)]).plain()


@given(MAPPINGS, st.lists(MAPPINGS, max_size=4), st.integers(0, 4))
def test_overlays_are_applied_in_order_wherever_the_list_is_cut(base: Any, patches: list[Any], cut: int) -> None:
    first = merged(node(base), map(node, patches[:cut]))
    assert merged(first, map(node, patches[cut:])).plain() == merge(base, *patches)


@given(LAYERS, LAYERS, LAYERS)
def test_merging_is_associative_where_nothing_changes_its_shape(first: Any, second: Any, third: Any) -> None:
    assert merge(merge(first, second), third) == merge(first, merge(second, third))


@given(MAPPINGS, MAPPINGS)
def test_what_an_overlay_says_is_so_afterwards_and_the_rest_as_it_was(base: Any, patch: Any) -> None:
    found = merge(base, patch)
    for name in base.keys() | patch.keys():
        if name not in patch:
            assert found[name] == base[name]
        elif patch[name] is None:
            assert name not in found
        elif not isinstance(patch[name], dict):
            assert found[name] == patch[name]


@given(MAPPINGS, MAPPINGS)
def test_merging_changes_neither_side(base: Any, patch: Any) -> None:
    left, right = node(base), node(patch)
    merged(left, [right])
    assert (left.plain(), right.plain()) == (base, patch)


PIECES = st.lists(
    st.sampled_from(["${a}", "${b.c}", "${_d-1}", "${gone}", "$${", "${", "$", "{", "}", "x", "ü", "${ a}"]), max_size=8
)
HELD = st.dictionaries(
    st.sampled_from(["a", "b.c", "_d-1"]),
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("xy{}", max_size=4),
)


@given(PIECES, HELD)
def test_a_text_is_filled_in_whole_or_complained_about(pieces: list[str], values: Any) -> None:
    text = "".join(pieces)
    filled = fill(node({"k": text}), Values("production", values, ("production",)))
    if filled.problems:
        assert filled.unknown
        assert "gone" in text or "${" in text
        return
    found = filled.root.plain()["k"]
    if "$${" not in text:
        assert "${" not in str(found)
    if isinstance(found, str) and text.startswith("x"):
        assert found.startswith("x")


@given(TEXTS | st.text("${a}", max_size=6), HELD)
def test_text_without_values_is_left_alone(text: str, values: Any) -> None:
    root = node({"k": [text, {"n": text}]})
    if "${" not in text:
        assert fill(root, Values("production", values)).root is root
        assert uses(root) is None
        assert fill_text(text, Values()) == text
    escaped = text.replace("${", "$${")
    if "$$" not in text:
        assert fill(node({"k": escaped}), Values()).root.plain() == {"k": text}


LINES = st.lists(
    st.sampled_from(
        [
            "  task: regression",
            "  dataset: tags",
            "  dataset: ${dataset}",
            "  dataset: null",
            "  architecture: {use: mlp, with: {widht: 3}}",
            "  training: {epochs: ${epochs}, batchSize: many}",
            "  training: null",
            "  thresholds: gone",
            "  trainin: {a: '${'}",
            "  package:\n    quantization: {mode: ${mode}}",
            "  - a",
            "  inputs: [data/none.csv, ../x]",
        ]
    ),
    max_size=3,
    unique=True,
)


@settings(deadline=None, max_examples=examples(150))
@given(LINES, LINES, LINES, st.sampled_from(["", "lab"]))
def test_every_problem_is_at_a_place_that_there_is(
    base: list[str], first: list[str], second: list[str], environment: str
) -> None:
    def model(lines: list[str]) -> str:
        return "\n".join([f"{HEADER}kind: Model\nmetadata: {{name: reader}}\nspec:", *(lines or ["  {}"])]) + "\n"

    files = {
        **FILES,
        "edgewright.yaml": f"{HEADER}kind: Repository\nmetadata: {{name: r}}\nspec:\n  environments:\n"
        "    - {name: lab, follow: {branch: main}, overlays: [one, two.yaml], values: {epochs: 3, dataset: tagz}}\n",
        "specs/model.yaml": model(base),
        "one/model.yaml": model(first),
        "two.yaml": model(second),
    }
    objects = MemoryObjects(files)
    try:
        assemble(Tree(objects, objects.root, Cache(None)), "r", environment)
    except SpecError as error:
        for problem in error.problems:
            lines = files[problem.path].split("\n")
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
            if not environment:
                assert problem.path == "specs/model.yaml" or problem.path in FILES
    except SourceError as error:
        raise AssertionError(str(error)) from error
