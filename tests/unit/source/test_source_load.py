"""One YAML file: what is accepted, and what is said, where, about what is not."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.source.specs.load import load_file
from edgewright.source.specs.yaml_nodes import MAX_BYTES
from samples.repositories import DATASET, HEADER, MODEL


def problems(text: str | bytes, *, required: bool = True) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [str(problem) for problem in sorted(load_file("a.yaml", data, required=required).problems)]


def test_valid_documents_keep_their_names_and_lines() -> None:
    loaded = load_file("a.yaml", f"\ufeff{DATASET}---\n{MODEL}---\n".encode())
    assert loaded.problems == ()
    assert [(d.kind, d.name, d.line, d.column) for d in loaded.documents] == [
        ("Dataset", "tags", 1, 1),
        ("Model", "reader", 9, 1),
    ]


def test_an_alias_repeats_a_value() -> None:
    text = DATASET.replace("{weight: {type: number}", "{weight: &n {type: number}, size: *n")
    body = load_file("a.yaml", text.encode()).documents[0].body
    assert '"size":{"type":"number"}' in body


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            DATASET.replace("slices", "slics"),
            ["a.yaml:7:3: unknown field 'spec.slics' (did you mean slices?)"],
            id="unknown field, at its key",
        ),
        pytest.param(
            DATASET.replace("name: tags", "name: tags, labls: {}"),
            ["a.yaml:3:24: unknown field 'metadata.labls' (did you mean labels?)"],
            id="unknown field in a flow mapping",
        ),
        pytest.param(
            MODEL.replace("{use: mlp}", "{use: mlp}\n  training: {epochs: abc}"),
            ["a.yaml:8:22: spec.training.epochs: expected a whole number, found text 'abc'"],
            id="wrong type, at its value",
        ),
        pytest.param(
            MODEL.replace("{use: mlp}", '{use: mlp}\n  training: {epochs: "5"}'),
            ["a.yaml:8:22: spec.training.epochs: expected a whole number, found text '5' (write it without quotes)"],
            id="a number in quotes",
        ),
        pytest.param(
            DATASET.replace("name: tags", "name: tags, labels: {year: 2024}"),
            ["a.yaml:3:39: metadata.labels.year: expected text, found the number 2024 (write it in quotes)"],
            id="text without quotes",
        ),
        pytest.param(
            DATASET.replace("format: csv", "format: cvs"),
            [
                "a.yaml:5:40: spec.source.format: expected one of 'image-folder', 'csv', 'parquet', 'python', 'coco', "
                "'yolo', 'voc', "
                "found text 'cvs' (did you mean csv?)"
            ],
            id="unknown word",
        ),
        pytest.param(
            DATASET.replace(", format: csv", ""),
            ["a.yaml:5:11: missing field 'spec.source.format' (add it)"],
            id="missing field, at its mapping",
        ),
        pytest.param(
            DATASET.replace("name: tags", "name: Tags_1"),
            [
                "a.yaml:3:18: metadata.name: expected lower-case letters, digits, '-' and '.', at most 253 characters, "
                "found text 'Tags_1'"
            ],
            id="bad name",
        ),
        pytest.param(
            DATASET + "  split: {train: 0.5}\n",
            ["a.yaml:8:10: spec.split: train, validation and test must add up to 1, not 0.7"],
            id="a rule over several fields, at their mapping",
        ),
        pytest.param(
            DATASET + "  checks:\n    - {rows: {mn: 1}}\n    - {colum: a}\n    - 3\n",
            [
                "a.yaml:9:15: unknown field 'spec.checks[0].rows.mn' (did you mean min?)",
                "a.yaml:10:7: missing field 'spec.checks[1].column' (add it)",
                "a.yaml:10:8: unknown field 'spec.checks[1].colum' (did you mean column?)",
                "a.yaml:11:7: spec.checks[2]: expected a mapping of rows or a mapping of column, missing, value, "
                "unique, found the number 3",
            ],
            id="a union: only the branch that was meant complains",
        ),
        pytest.param(
            HEADER + "kind: Fleet\nmetadata: {name: a}\nspec:\n  inventory:\n    - {id: d1}\n    - {idd: d2}\n",
            [
                "a.yaml:7:7: missing field 'spec.inventory[1].id' (add it)",
                "a.yaml:7:8: unknown field 'spec.inventory[1].idd' (did you mean id?)",
            ],
            id="inside the list branch of a union",
        ),
        pytest.param(
            HEADER + "kind: Fleet\nmetadata: {name: a}\nspec: {inventory: 5}\n",
            ["a.yaml:4:19: spec.inventory: expected text or a list, found the number 5"],
            id="no branch of a union",
        ),
        pytest.param(
            HEADER + "kind: Modell\nmetadata: {name: a}\n",
            ["a.yaml:2:7: unknown kind: text 'Modell' (did you mean Model?)"],
            id="unknown kind",
        ),
        pytest.param(
            "apiversion: edgewright.dev/v1alpha1\nkind: Model\n",
            ["a.yaml:1:1: missing field 'apiVersion' (add apiVersion: edgewright.dev/v1alpha1 in place of apiversion)"],
            id="apiVersion misspelt",
        ),
        pytest.param(
            "apiVersion: edgewright.dev/v2\nkind: Model\n",
            ["a.yaml:1:13: unknown apiVersion: text 'edgewright.dev/v2' (write edgewright.dev/v1alpha1)"],
            id="another version",
        ),
        pytest.param("- a\n", ["a.yaml:1:1: expected a mapping of fields, found a list"], id="a list"),
        pytest.param(
            HEADER + "kind: Model\nmetadata: {name: a\n",
            ["a.yaml:4:1: malformed YAML: expected ',' or '}', but got '<stream end>' while parsing a flow mapping"],
            id="malformed",
        ),
        pytest.param(
            HEADER + "kind: \x07Model\n",
            ["a.yaml:2:7: malformed YAML: character U+0007 is not allowed (remove or escape it)"],
            id="control character",
        ),
        pytest.param(
            HEADER.encode() + b"kind: Model\nmetadata: {name: \xff}\n",
            ["a.yaml:3:18: not UTF-8: byte 0xff (save the file as UTF-8)"],
            id="not UTF-8",
        ),
        pytest.param(
            MODEL + "metadata: {name: other}\n",
            ["a.yaml:9:1: field 'metadata' is given twice (first on line 3; remove one of them)"],
            id="duplicate key",
        ),
        pytest.param(
            MODEL.replace("use: mlp", "use: mlp, with: {x: .nan, y: !int 3, z: *gone}"),
            [
                "a.yaml:7:38: .nan is not a finite number (write it in quotes if text is meant)",
                "a.yaml:7:47: tag !int is not supported (remove the tag)",
                "a.yaml:7:58: alias *gone has no anchor (define &gone before it)",
            ],
            id="what JSON cannot say",
        ),
        pytest.param(
            MODEL.replace("use: mlp", "use: mlp, with: &w {again: *w}"),
            ["a.yaml:7:45: alias *w refers to what it is part of (define &w before it)"],
            id="an alias inside its own anchor",
        ),
        pytest.param(
            MODEL.replace("use: mlp", "use: mlp, with: {1: a, <<: {b: c}}"),
            [
                "a.yaml:7:35: a field's name must be text, found 1 (write it in quotes)",
                "a.yaml:7:41: merge keys (<<) are not part of YAML 1.2 (repeat the fields, or alias a whole value)",
            ],
            id="keys",
        ),
    ],
)
def test_a_problem_says_what_and_where(text: str | bytes, expected: list[str]) -> None:
    assert problems(text) == expected


def test_every_problem_of_every_document_is_reported_at_once() -> None:
    found = problems(DATASET.replace("slices", "slics") + "---\n" + MODEL.replace("task:", "tusk:") + "kind: Model\n")
    assert [text.split(" (")[0] for text in found] == [
        "a.yaml:7:3: unknown field 'spec.slics'",
        "a.yaml:13:3: missing field 'spec.task'",
        "a.yaml:13:3: unknown field 'spec.tusk'",
        "a.yaml:17:1: field 'kind' is given twice",
    ]


def test_an_alias_bomb_is_refused_before_it_is_expanded() -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
    found = problems(HEADER + "a0: &a0 [" + ", ".join("x" * 10) + "]\n" + "\n".join(levels))
    assert found == ["a.yaml:7:58: more than 200,000 values once its aliases are expanded (use fewer aliases)"]


@pytest.mark.parametrize(
    ("item", "count", "last"),
    [("x", 250_000, 200_000), ("[]", 250_000, 200_000), ("{a: 1}", 120_000, 100_000)],
    ids=["texts", "empty lists", "mappings"],
)
def test_a_list_without_an_end_is_read_no_further_than_a_document_may_hold(item: str, count: int, last: int) -> None:
    (found,) = problems(HEADER + "x: [\n" + f"{item},\n" * count + "]\n")
    _, line, _, text = found.split(":", 3)
    assert text == " more than 200,000 values in one document (divide the file)"
    assert abs(int(line) - last) < 20, "it stops at the value that is too much, not at the end of the list"


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "x: " + "[" * 50_000,
        HEADER + "a0: &a0 []\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200)),
    ],
    ids=["brackets", "aliases of aliases"],
)
def test_deep_nesting_is_refused(text: str) -> None:
    (found,) = problems(text)
    assert "nested deeper than 64 levels" in found


def test_a_huge_file_is_refused_unread() -> None:
    assert problems(HEADER + "x" * MAX_BYTES) == [
        "a.yaml:1:1: larger than 1,048,576 bytes (divide it; data does not belong in specs)"
    ]


@pytest.mark.parametrize(
    ("text", "is_ours"),
    [
        ("apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a}\n", False),
        ("on: push\njobs: {}\n", False),
        ("a: [unclosed\n", False),
        ("kind: Model\nmetadata: {name: a}\n", True),
        ("apiVersion: edgewrigth.dev/v1\nkind: Model\n", True),
        (HEADER + "a: [unclosed\n", True),
    ],
)
def test_files_for_other_tools_are_left_alone(text: str, is_ours: bool) -> None:
    loaded = load_file("a.yaml", text.encode())
    assert loaded.is_spec is is_ours
    assert bool(loaded.problems) is is_ours


@pytest.mark.parametrize("data", [DATASET.encode("utf-16"), DATASET.replace("name", "n\xe4me").encode("latin-1")])
def test_a_spec_in_another_encoding_is_refused_and_not_left_out(data: bytes) -> None:
    (found,) = load_file("a.yaml", data).problems
    assert "not UTF-8: byte 0x" in found.message


@pytest.mark.parametrize("text", [textwrap.indent(DATASET, "  "), '{"apiVersion": "edgewright.dev/v1alpha1"}'])
def test_a_spec_that_is_indented_or_json_is_read(text: str) -> None:
    assert load_file("a.yaml", text.encode()).is_spec
    assert not load_file("a.yaml", text.replace("edgewright", "argoproj").encode()).is_spec


def test_yes_and_dates_are_text() -> None:
    text = DATASET.replace("name: tags", "name: tags, labels: {a: yes, b: 2024-01-01, c: 1_000, d: 12:30}")
    assert problems(text) == []


YAMLISH = st.lists(
    st.sampled_from(
        [*"ab: {}[],&*!|>'\"%@`#-?~\n\t01.<=\\", "kind: Model\n", "spec:\n  ", "&a ", "*a", "---\n", "\x85", "? "]
    )
    | st.characters(),
    max_size=40,
).map("".join)


@given(YAMLISH.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60))
def test_whatever_is_written_there_are_documents_or_problems_and_no_crash(data: bytes) -> None:
    loaded = load_file("a.yaml", HEADER.encode() + data)
    assert loaded.is_spec
    for problem in loaded.problems:
        assert problem.line >= 1
        assert problem.column >= 1
