"""What was found in data and measured of models is shown by show, status, explain and apply alike."""

from pathlib import Path

import pytest

from fakes.builder import FakeBuilder
from harness.command_line import WHOLE, converge, edgewright, edit, repository

DEVICES = ("lane-1", "lane-2")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository that was applied, with slices."""
    made = repository(tmp_path / "shop", WHOLE)
    builder = FakeBuilder()
    builder.slices = {"store": ["lyon", "paris"]}
    converge(made, builder=builder, devices=DEVICES)
    return made


def test_a_dataset_is_shown_with_its_rows_and_classes(shop: Path) -> None:
    edgewright(shop, "show", "dataset/tags").expect(
        0, "100 rows (80 train, 10 validation, 10 test); 2 classes of label: a, b", "up to date", "features: image"
    )


def test_a_model_is_shown_with_figures_slices_confusion_and_gates(shop: Path) -> None:
    ran = edgewright(shop, "show", "model/reader").expect(
        0,
        "fp32 accuracy 0.99 f1Macro 0.99 on 10 test rows of dataset/tags",
        "fp32 is packaged; 1 of 1 gate passed",
        "✓ accuracy ≥ 0.9: 0.99",
        "store=lyon",
    )
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["TRUE", "(fp32)", "\\", "PREDICTED", "a", "b"] in lines
    assert ["a", "4", "1"] in lines and ["b", "0", "5"] in lines


def test_one_shape_of_json_is_given_by_every_command(shop: Path) -> None:
    shown = {
        name: edgewright(shop, "show", name, "-o", "json").expect(0).json() for name in ("dataset/tags", "model/reader")
    }
    model = shown["model/reader"]
    assert model["variants"]["fp32"].pop("confusion") == [[4, 1], [0, 5]]
    assert model.pop("classes") == ["a", "b"]
    assert (model["current"], model["packaged"], model["gated"], model["thresholds"]) == (True, "fp32", True, "good")
    assert [gate["passed"] for gate in model["gates"]] == [True]
    assert shown["dataset/tags"]["rows"] == {"train": 80, "validation": 10, "test": 10}

    status = edgewright(shop, "status", "-o", "json").expect(0).json()
    assert {each["address"]: each["results"] for each in status["resources"] if "results" in each} == shown
    assert edgewright(shop, "explain", "model/reader", "-o", "json").expect(0).json()["results"] == model
    applied = edgewright(shop, "apply", "--yes", "-o", "json").expect(0).json()
    assert {each["address"]: each for each in applied["results"]} == shown


def test_status_and_explain_say_it_in_a_line(shop: Path) -> None:
    edgewright(shop, "status").expect(
        0, "100 rows (80 train", "fp32 accuracy 0.99 f1Macro 0.99 on 10 test rows; 1 of 1"
    )
    edgewright(shop, "explain", "dataset/tags").expect(0, "100 rows (80 train, 10 validation, 10 test)")


def test_what_no_gate_judges_and_what_is_not_current_is_said(shop: Path) -> None:
    edit(shop, {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("  thresholds: good\n", "")})
    edgewright(shop, "show", "model/reader").expect(0, "fp32 is packaged; no gates: nothing judges it before devices")
    edit(shop, {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 4")})
    edgewright(shop, "show", "model/reader").expect(0, "the spec has changed since", "judged when it is measured again")
    model = edgewright(shop, "show", "model/reader", "-o", "json").expect(0).json()
    assert (model["current"], model["packaged"], model["gated"], model["gates"]) == (False, None, True, [])


def test_what_has_nothing_to_show_says_why(tmp_path: Path) -> None:
    made = repository(tmp_path / "shop", WHOLE)
    edgewright(made, "show", "dataset/tags").expect(1, "dataset/tags was never built")
    edgewright(made, "show", "model/reader").expect(1, "model/reader was never measured")
    edgewright(made, "show", "rollout/reader").expect(1, "rollout/reader has no rows or figures")
    edgewright(made, "show", "model/raeder").expect(1, "did you mean", "model/reader")
    edgewright(made, "show", "reader").expect(1, "write kind/name")
    assert "results" not in edgewright(made, "status", "-o", "json").expect(0).json()["resources"][0]
