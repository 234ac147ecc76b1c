"""Datasets from tables: columns, checks, splits and the digest of what was built."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgewright.core.facts import Column
from edgewright.errors import StepFailed, UserCodeFailed
from edgewright.pipeline.dataset.columns import coerce
from edgewright.pipeline.dataset.files import load_split
from edgewright.ports import Built
from edgewright_schemas.dataset import ColumnType
from harness.steps import run_dataset

COLUMNS = {
    "weight": {"type": "number"},
    "organic": {"type": "boolean"},
    "kind": {"type": "category", "values": ["fruit", "bread"]},
    "label": {"type": "category"},
}
Make = Callable[..., Built[Any]]


def rows_of(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "weight": number / 2,
            "organic": "true" if number % 2 else "false",
            "kind": ("fruit", "bread")[number % 2],
            "label": ("cheap", "dear", "free")[number % 3],
            "store": f"s{number % 12}",
            **changes,
        }
        for number in range(count)
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def spec(**changes: Any) -> dict[str, Any]:
    return {"source": {"uri": "data.csv", "format": "csv"}, "columns": COLUMNS, **changes}


def test_a_table_becomes_features_and_labels(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows_of(60))
    built = run_dataset(tmp_path, spec(slices=["store"]))

    assert set(built.files) == {"train.parquet", "validation.parquet", "test.parquet", "schema.json"}
    assert built.facts.features == ("weight", "organic", "kind")
    assert built.facts.label == "label"
    assert built.facts.input_shape == (4,)
    assert built.facts.columns["label"] == Column(type="category", values=("cheap", "dear", "free"))
    assert built.facts.slices["store"] == tuple(sorted(f"s{n}" for n in range(12)))
    assert sum(built.facts.rows.values()) == 60

    train = load_split(built.files, built.facts, "train")
    assert train.features.dtype == np.float32 and train.labels.dtype == np.int64
    assert train.features.shape == (built.facts.rows["train"], 4)
    for features, label, store in zip(train.features, train.labels, train.columns["store"].to_pylist(), strict=True):
        number = round(float(features[0]) * 2)
        assert features[1] == number % 2
        assert features[2:].tolist() == ([0, 1] if number % 2 else [1, 0])
        assert label == number % 3
        assert store == f"s{number % 12}"


def test_the_parquet_files_hold_categories_at_their_positions(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows_of(60))
    built = run_dataset(tmp_path, spec())
    column = pq.read_table(built.files["train.parquet"])["kind"].chunk(0)
    assert pa.types.is_dictionary(column.type)
    assert column.dictionary.to_pylist() == ["fruit", "bread"]


def test_a_number_to_predict_is_float(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", [{"x": n, "target": n * 2} for n in range(40)])
    built = run_dataset(tmp_path, spec(columns={"x": {"type": "integer"}, "target": {"type": "number"}}))
    train = load_split(built.files, built.facts, "train", limit=5)
    assert len(train) == 5
    assert train.labels.dtype == np.float32
    assert (train.labels == train.features[:, 0] * 2).all()


def test_the_same_data_gives_the_same_digest_and_other_data_another(tmp_path: Path) -> None:
    rows = rows_of(60)
    digests = []
    for name, content in (("a", rows), ("b", rows), ("c", [{**rows[0], "weight": 0.25}, *rows[1:]])):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "data.csv", content)
        built = run_dataset(tmp_path / name, spec())
        assert built.digest == built.facts.content_digest
        digests.append(built.digest)
    assert digests[0] == digests[1] != digests[2]


def test_csv_and_parquet_of_the_same_rows_are_the_same_dataset(tmp_path: Path) -> None:
    rows = [{"x": n, "label": f"l{n % 3}"} for n in range(40)]
    write_csv(tmp_path / "data.csv", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    columns = {"x": {"type": "integer"}, "label": {"type": "category"}}
    from_csv = run_dataset(tmp_path, spec(columns=columns), workdir="one")
    from_parquet = run_dataset(
        tmp_path, spec(columns=columns, source={"uri": "data.parquet", "format": "parquet"}), workdir="two"
    )
    assert from_csv.digest == from_parquet.digest


def split_of(built: Built[Any], column: str) -> dict[Any, str]:
    return {
        value: split
        for split in ("train", "validation", "test")
        for value in pq.read_table(built.files[f"{split}.parquet"])[column].to_pylist()
    }


def test_rows_added_later_move_no_other_row(tmp_path: Path) -> None:
    rows = rows_of(100)
    write_csv(tmp_path / "data.csv", rows[10:60])
    before = split_of(run_dataset(tmp_path, spec()), "weight")
    write_csv(tmp_path / "data.csv", rows)
    after = split_of(run_dataset(tmp_path, spec()), "weight")
    assert {weight: after[weight] for weight in before} == before
    assert set(before.values()) == {"train", "validation", "test"}


def test_a_group_never_parts(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows_of(240))
    built = run_dataset(
        tmp_path,
        spec(split={"train": 0.5, "validation": 0.25, "test": 0.25, "seed": 1, "groupBy": "store"}),
    )
    stores = [
        set(pq.read_table(built.files[f"{split}.parquet"])["store"].to_pylist())
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, stores)) == len(set.union(*stores)) == 12
    assert "store" not in built.facts.features


def test_an_empty_split_names_itself_and_the_groups(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows_of(60, store="only"))
    with pytest.raises(StepFailed, match=r"\(rows: 60, groups by 'store': 1\)") as caught:
        run_dataset(tmp_path, spec(split={"groupBy": "store"}))
    assert "test (10%)" in str(caught.value)


def test_a_split_of_share_zero_may_be_empty(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows_of(60))
    built = run_dataset(tmp_path, spec(split={"train": 0.8, "validation": 0, "test": 0.2}))
    assert built.facts.rows["validation"] == 0
    assert len(load_split(built.files, built.facts, "validation")) == 0


def test_everything_wrong_with_the_data_is_told_at_once(tmp_path: Path) -> None:
    rows = rows_of(60)
    rows[3]["weight"] = "heavy"
    rows[4]["kind"] = "fish"
    rows[5]["label"] = ""
    rows[6]["weight"] = "inf"
    write_csv(tmp_path / "data.csv", rows)
    checks = [{"rows": {"min": 1000}}, {"column": "weight", "value": {"max": 29}}, {"column": "label", "unique": True}]
    with pytest.raises(StepFailed) as caught:
        run_dataset(tmp_path, spec(checks=checks))
    text = str(caught.value)
    assert "'heavy' is no number (data.csv:5)" in text
    assert "'inf' is not finite (data.csv:8)" in text
    assert "'fish' (data.csv:6)" in text and "columns.kind.values has: fruit, bread" in text
    assert "rows without 'label': 1" in text and "drop-missing" in text
    assert "rows: 57, not at least 1000" in text
    assert "values of 'weight' are not at most 29 (1): 29.5 (data.csv:61)" in text
    assert "values of 'label' are there before (53)" in text


def test_a_column_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows_of(10))
    columns = {**COLUMNS, "wieght": {"type": "number"}}
    with pytest.raises(StepFailed, match=r"column 'wieght' is not there \(did you mean weight\?") as caught:
        run_dataset(tmp_path, spec(columns=columns))
    assert "rows without" not in str(caught.value)


def test_a_check_of_an_unknown_column_names_the_nearest(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows_of(10))
    with pytest.raises(StepFailed, match=r"(?s)'labl'.*did you mean label\?"):
        run_dataset(tmp_path, spec(checks=[{"column": "labl", "missing": {"max": 0}}]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": {"type": "category"}, "b": {"type": "category"}}, "cannot be told which column is the label"),
        ({"a": {"type": "number"}}, "cannot be told which column is the label"),
        ({"label": {"type": "category"}}, "no column is left as a feature"),
        ({"a": {"type": "number"}, "label": {"type": "text"}}, "cannot be of type text"),
        ({"a": {"type": "number"}, "label": {"type": "category", "values": ["x", "x"]}}, "lists a value twice"),
        ({"a": {"type": "number", "values": ["x"]}, "label": {"type": "number"}}, "is of type number"),
    ],
)
def test_columns_that_make_no_dataset(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(StepFailed, match=message):
        run_dataset(tmp_path, spec(columns=columns))


def test_steps_change_and_drop_rows(tmp_path: Path) -> None:
    rows = rows_of(60)
    rows[0]["weight"] = ""
    write_csv(tmp_path / "data.csv", rows)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "helpers.py").write_text("FACTOR = 10\n")
    (tmp_path / "code" / "steps.py").write_text(
        "from helpers import FACTOR\n"
        "def scale(row, column):\n"
        "    if row['label'] == 'free':\n"
        "        return None\n"
        "    row[column] *= FACTOR\n"
        "    return row\n"
    )
    steps = [
        {"use": "drop-missing"},
        {"use": "code/steps.py:scale", "with": {"column": "weight"}},
        {"use": "clip", "with": {"column": "weight", "max": 100}},
        {"use": "select", "with": {"column": "store", "values": ["s1", "s3", "s4"]}},
    ]
    built = run_dataset(tmp_path, spec(steps=steps, slices=["store"], split={"train": 1, "validation": 0, "test": 0}))
    expected = [min(n * 5.0, 100.0) for n in range(1, 60) if n % 3 != 2 and n % 12 in (1, 3, 4)]
    assert load_split(built.files, built.facts, "train").features[:, 0].tolist() == expected


def test_a_step_that_raises_shows_its_own_lines(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows_of(10))
    (tmp_path / "steps.py").write_text("def denoise(row):\n    return inner(row)\ndef inner(row):\n    return 1 / 0\n")
    with pytest.raises(UserCodeFailed) as caught:
        run_dataset(tmp_path, spec(steps=[{"use": "steps.py:denoise"}]))
    assert caught.value.message == "ZeroDivisionError: division by zero in steps.py:4 (denoise)"
    assert "steps.py:2 in denoise: return inner(row)" in caught.value.hint
    assert "site-packages" not in str(caught.value) and "usercode.py" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"use": "resise"}, r"no step 'resise'\n.*did you mean resize"),
        ({"use": "resize", "with": {"height": 0, "widht": 3}}, "height: .*width: .*widht: "),
        ({"use": "code/steps.py:denoise"}, "code/steps.py is not in the repository"),
        ({"use": "../steps.py:denoise"}, "outside the repository"),
    ],
)
def test_steps_that_are_not_there(tmp_path: Path, step: dict[str, Any], message: str) -> None:
    write_csv(tmp_path / "data.csv", rows_of(10))
    with pytest.raises(StepFailed, match=message):
        run_dataset(tmp_path, spec(steps=[step]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x,label\n1,a\n2\n", r"data.csv:3 has 1 values for 2 columns"),
        (b"x,label\n1,a,b\n", r"data.csv:2 has 3 values for 2 columns"),
        (b"x,x\n1,1\n", "names a column twice"),
        (b"x,label\n\xff,a\n", "is not utf-8"),
        (b"", "gave no rows"),
    ],
)
def test_a_csv_file_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(StepFailed, match=message):
        run_dataset(tmp_path, spec(columns={"x": {"type": "number"}, "label": {"type": "category"}}))


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(StepFailed, match="no Parquet file"):
        run_dataset(tmp_path, spec(source={"uri": "data.parquet", "format": "parquet"}))


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"data\.csv is not there"):
        run_dataset(tmp_path, spec())


def test_a_source_that_is_not_what_the_spec_pins(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    write_csv(tmp_path / "data.csv", rows_of(60))
    source = {"uri": str(tmp_path / "data.csv"), "format": "csv", "digest": "sha256:" + "0" * 64}
    with pytest.raises(StepFailed, match="and the spec pins sha256:0000"):
        run_dataset(tmp_path / "checkout", spec(source=source))


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        ("9007199254740993", "integer", 2**53 + 1),
        ("3.0", "integer", 3),
        (np.int64(3), "number", 3.0),
        (np.float32("nan"), "number", None),
        ("", "text", None),
        (True, "category", "true"),
        ("No", "boolean", False),
        (1.0, "boolean", True),
    ],
)
def test_values_as_their_types(value: object, type_: ColumnType, expected: object) -> None:
    found = coerce(value, type_)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "type_"),
    [("3.5", "integer"), (2**63, "integer"), ("maybe", "boolean"), ("\udcff", "text"), ([], "number")],
)
def test_values_that_are_not_of_their_type(value: object, type_: ColumnType) -> None:
    with pytest.raises(ValueError, match=r"is n|neither"):
        coerce(value, type_)
