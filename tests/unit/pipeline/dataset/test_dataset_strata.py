"""Splits that give every class and every slice its share."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.splits import Candidate, assign
from edgewright_schemas.dataset import Split
from harness.steps import run_dataset

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split(**fields: Any) -> Split:
    return Split.model_validate({**SHARES, "stratify": True, **fields})


def test_every_class_and_slice_has_its_share(tmp_path: Path) -> None:
    rows = [(n, ("hi", "lo")[n % 2], ("lyon", "porto")[n % 4 < 2]) for n in range(300)]
    rows += [(n, ("hi", "lo")[n % 2], "turin") for n in range(300, 304)]
    text = "x,label,store\n" + "".join(f"{x},{label},{store}\n" for x, label, store in rows)
    (tmp_path / "data.csv").write_text(text)
    spec = {
        "source": {"uri": "data.csv", "format": "csv"},
        "columns": {"x": {"type": "number"}, "label": {"type": "category"}},
        "slices": ["store"],
        "split": {**SHARES, "seed": 3, "stratify": True},
    }
    facts = run_dataset(tmp_path, spec).facts
    assert facts.slice_rows["store"]["turin"] == {"train": 2, "validation": 1, "test": 1}
    assert abs(facts.class_rows["test"]["hi"] - 15) <= 1
    assert abs(facts.rows["test"] - 30) <= 1 and abs(facts.rows["validation"] - 30) <= 1
    for value in ("lyon", "porto"):
        assert abs(facts.slice_rows["store"][value]["test"] - 15) <= 1
    with pytest.raises(StepFailed, match=r"split.stratify has nothing to go by"):
        run_dataset(
            tmp_path, {**spec, "slices": [], "columns": {"x": {"type": "number"}, "target": {"type": "number"}}}
        )


@pytest.mark.parametrize(("keys", "expected"), [(1, {"train"}), (2, {"train", "test"})])
def test_what_is_rare_is_trained_on_first_and_then_tested(keys: int, expected: set[str]) -> None:
    common = [Candidate(f"c{n}", strata=("label=a",)) for n in range(100)]
    rare = [Candidate(f"r{n}", strata=("label=b",)) for n in range(keys)]
    assert set(assign([*rare, *common], split())[:keys]) == expected


candidates = st.lists(
    st.builds(
        Candidate,
        key=st.integers(0, 40).map(str),
        strata=st.tuples(
            st.sampled_from(["label=a", "label=b", "label=c"]), st.sampled_from([f"store={n}" for n in range(6)])
        ),
    ),
    min_size=1,
    max_size=120,
)


@given(candidates, st.integers(0, 5))
def test_keys_stay_together_and_what_has_three_keys_is_everywhere(rows: list[Candidate], seed: int) -> None:
    chosen = assign(rows, split(seed=seed))
    assert chosen == assign(rows, split(seed=seed))
    by_key: dict[str, set[str]] = {}
    for row, name in zip(rows, chosen, strict=True):
        by_key.setdefault(row.key, set()).add(name)
    assert all(len(names) == 1 for names in by_key.values())


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=200), st.integers(0, 5))
def test_each_class_of_single_rows_has_its_share(labels: list[str], seed: int) -> None:
    rows = [Candidate(str(n), strata=(f"label={label}",)) for n, label in enumerate(labels)]
    found = Counter(zip(labels, assign(rows, split(seed=seed)), strict=True))
    for label, count in Counter(labels).items():
        for name, share in SHARES.items():
            if count >= 3:
                assert found[label, name] >= 1
            assert abs(found[label, name] - share * count) <= 2.01


def test_rows_that_name_their_split_keep_it() -> None:
    rows = [Candidate(str(n), given="test" if n % 5 == 0 else "train", strata=(f"label={n % 2}",)) for n in range(100)]
    chosen = assign(rows, split())
    assert all((row.given == "test") == (name == "test") for row, name in zip(rows, chosen, strict=True))
    assert 5 <= chosen.count("validation") <= 12, "train has no validation beside it, and gives its share"


def test_a_column_and_strata_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        split(column="fold")
