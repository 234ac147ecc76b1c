"""Texts that libyaml reads are read as ruamel.yaml reads them, to the column; all others are left to it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import Problem
from edgewright.source.specs import yaml_nodes
from edgewright.source.specs.yaml_nodes import Node, read_documents
from edgewright.source.yaml_events import NotTheSame, fast_events

ROOT = Path(__file__).parents[3]
Read = tuple[list[tuple[Node, bool]], list[Problem]]


def by_reference(text: str) -> Read:
    return yaml_nodes._read_by_reference("s.yaml", text)


def is_fast(text: str) -> bool:
    try:
        for _ in fast_events(text):
            pass
    except NotTheSame:
        return False
    return True


def yaml_files() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.yaml", "*.yml"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return (ROOT / name for name in listed.stdout.splitlines())


def test_every_spec_in_the_repository_is_read_alike_by_both() -> None:
    texts = {path: path.read_text("utf-8") for path in yaml_files()}
    for path, text in texts.items():
        assert read_documents("s.yaml", text) == by_reference(text), path
    specs = [text for path, text in texts.items() if "specs" in path.parts]
    assert len(specs) > 10
    assert sum(map(is_fast, specs)) / len(specs) > 0.9, "most are read the fast way"


# fmt: off
PIECES = [
    "a", "b: ", "- ", ": ", ":", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ",", " ", "#", " #c", "'", '"', "|\n",
    "&x ", "*x", "!!str ", "!", "?", "? ", "---\n", "...\n", "\t", "\r\n", "\r", "\u2028", "\x85", "\ufeff", "é", "😀",
    "0x1", "~", "%YAML 1.1\n", "\\", '"\\/"', "<<: ", "@", "`", "--- ", "1.0", "x:y", "http://a", "\n- ", "|2\n",
    "a: 1\n", "k:\n  - b\n  - c: d\n", "t: |\n  x\n  y\n", "f: {a: [1, 'b'], c: \"d\"}\n", "\\\n", "yes", "07", "\x7f",
    "|#", ">-\n", ">+\n",
]
# fmt: on


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_generated_texts_are_read_alike_by_both(text: str) -> None:
    assert read_documents("s.yaml", text) == by_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "a:\nb: 1\n",  # the place of what is left out
        "a: &x 1\nb: *x\n",
        "a: !!str 1\n",
        "? a\n: b\n",
        "a: 1\n...\nb: 2\n",
        "%YAML 1.2\n---\na: 1\n",
        "a:\t1\n",
        "a: 1\r\nb: 2\r\n",
        "text\n",
        "a: |# \n  b\n",
        "a: 'x\u2028y'\n",
        "a: {b: 1\n",
    ],
)
def test_what_the_parsers_may_read_otherwise_is_left_to_the_reference(text: str) -> None:
    assert not is_fast(text)
    assert read_documents("s.yaml", text) == by_reference(text)


def test_problems_have_the_words_and_places_of_the_reference() -> None:
    text = "a: 1\nb: [1, 2\nc: 3\n"
    found = read_documents("s.yaml", text)
    assert found == by_reference(text)
    assert found[1], "it is broken"
    twice = "a: 1\nb:\n  c: 1\n  c: 2\n"
    ((_, is_clean),), (problem,) = read_documents("s.yaml", twice)
    assert (is_clean, problem.line, problem.column) == (False, 4, 3)


def test_without_libyaml_everything_is_read_by_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml._yaml", None)
    assert not is_fast("a: 1\n")
    assert read_documents("s.yaml", "a: 1\n") == by_reference("a: 1\n")
