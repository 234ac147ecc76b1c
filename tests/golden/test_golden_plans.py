"""Plans as data: every file below ``plans`` is a desired and an observed state and the plan that must come of them."""

import os
from pathlib import Path

import pytest

from samples.plan_cases import Case, read_yaml, write_yaml

PLANS = Path(__file__).parent / "plans"
_EXPECTED = "\nexpected:"


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_plan(path: Path) -> None:
    text = path.read_text()
    case = Case(path, read_yaml(text))
    found = case.compute()
    if os.environ.get("UPDATE_GOLDEN"):
        given = text.partition(_EXPECTED)[0].rstrip("\n")
        path.write_text(f"{given}\n{write_yaml({'expected': found})}")
    # Compared as YAML, so that a failure is a readable difference of what the file says.
    assert write_yaml(found) == write_yaml(read_yaml(path.read_text()).get("expected"))


def test_every_case_has_a_title_of_its_own() -> None:
    titles = [read_yaml(path.read_text())["title"] for path in PLANS.glob("*.yaml")]
    assert len(titles) >= 30
    assert len(set(titles)) == len(titles)
