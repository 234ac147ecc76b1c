"""Numbers that 32 bits do not tell apart: refused where it matters, told where it does not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.errors import StepFailed
from harness.steps import run_dataset

RNG = np.random.default_rng(0)


def build(root: Path, values: Sequence[Any], type_: str = "number", label: Sequence[Any] | None = None) -> Any:
    labels = label if label is not None else ["ab"[n % 2] for n in range(len(values))]
    rows = "".join(f"{value!r},{label!r}\n".replace("'", "") for value, label in zip(values, labels, strict=True))
    name = "label" if label is None else "target"
    (root / "data.csv").write_text(f"x,{name}\n" + rows)
    columns = {"x": {"type": type_}, name: {"type": "category" if label is None else "number"}}
    split = {"train": 1, "validation": 0, "test": 0}
    return run_dataset(root, {"source": {"uri": "data.csv", "format": "csv"}, "columns": columns, "split": split})


@pytest.mark.parametrize("type_", ["number", "integer"])
def test_unix_seconds_and_codes_are_refused(tmp_path: Path, type_: str) -> None:
    seconds = [1_764_000_000 + 5 * n for n in range(714)]
    with pytest.raises(StepFailed, match=r"values of 'x' are not told apart.*: 29 of 714 are left, up to 1.764e\+09"):
        build(tmp_path, seconds, type_)
    codes = [4_006_381_333_900 + n for n in range(26)]
    with pytest.raises(StepFailed, match=r"(?s): 1 of 26 are left.*a code or an id is a category"):
        build(tmp_path, codes, type_)


@pytest.mark.parametrize(
    "values",
    [
        [52.52 + n * 1e-8 for n in range(500)],  # a position, to the millimetre
        [1e-50 * n for n in range(100)],  # all are 0
        [1e39 * n for n in range(40)],  # all are infinite
        [2.0**24 + n for n in range(100)],  # every second whole number is gone
    ],
    ids=["position", "tiny", "huge", "whole"],
)
def test_what_else_is_refused(tmp_path: Path, values: list[float]) -> None:
    with pytest.raises(StepFailed, match="values of 'x' are not told apart"):
        build(tmp_path, values)


def test_a_number_to_predict_is_judged_too(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="values of 'target' are not told apart"):
        build(tmp_path, list(range(300)), label=[1_764_000_000 + n for n in range(300)])


PASCAL = (101_325 + RNG.normal(0, 50, 15_000)).tolist()
MEASURED: dict[str, list[float]] = {
    "kelvin": (293.15 + RNG.normal(0, 0.5, 5_000)).tolist(),
    "pascal": PASCAL,
    "noise of computing": [n % 10 * 0.1 if n % 2 else n % 10 / 10 for n in range(1000)],
    "cents": (RNG.integers(0, 10**7, 5_000) / 100).tolist(),
    "whole numbers": [float(n) for n in range(-2000, 2000)],
    "one value": [3.25] * 100,
    "both signs": RNG.normal(0, 1, 5_000).tolist(),
}


@pytest.mark.parametrize("kind", MEASURED)
def test_what_is_measured_passes(tmp_path: Path, kind: str) -> None:
    assert build(tmp_path, MEASURED[kind]).facts.rows["train"] > 0


def test_what_is_lost_and_does_not_matter_is_told(tmp_path: Path) -> None:
    built = build(tmp_path, PASCAL)
    (said,) = built.facts.notices
    assert said.startswith("values of 'x': 1") and said.endswith(" are told apart by 32-bit numbers")


def test_rows_without_a_value_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x,y,label\n" + "".join(f"{n},,{'ab'[n % 2]}\n" for n in range(60)))
    columns = {"x": {"type": "number"}, "label": {"type": "category"}}
    spec = {"source": {"uri": "data.csv", "format": "csv"}, "columns": columns, "slices": ["y"]}
    assert run_dataset(tmp_path, spec).facts.notices is None
