"""Gates: what passes, what fails, and what is inconclusive, which does not pass."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.facts import DatasetFacts
from edgewright.core.gates import (
    GateOutcome,
    choose_variant,
    describe,
    device_gates,
    evaluate_device_gates,
    evaluate_gates,
    passes,
)
from edgewright_schemas.thresholds import Gate


def gate(**fields: Any) -> Gate:
    return Gate.model_validate(fields)


def only(found: tuple[GateOutcome, ...]) -> GateOutcome:
    assert len(found) == 1
    return found[0]


EVIDENCE = {
    "overall": {"accuracy": 0.94, "loss": 0.2},
    "slices": {"lighting=dim": {"accuracy": 0.88}, "lighting=day": {"accuracy": 0.97}, "store=1": {"accuracy": 0.1}},
    "sizeBytes": 300_000,
    "latencyP95Ms": 12.0,
    "rows": 500,
}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metric": "accuracy", "min": 0.95}, "accuracy ≥ 0.95"),
        ({"metric": "sizeBytes", "max": "400KiB"}, "sizeBytes ≤ 400 KiB"),
        ({"metric": "sizeBytes", "max": "1.5MB"}, "sizeBytes ≤ 1500 KB"),
        ({"metric": "sizeBytes", "max": 1001}, "sizeBytes ≤ 1001 bytes"),
        ({"metric": "loss", "min": 0.1, "max": 0.5}, "loss ≥ 0.1 and ≤ 0.5"),
        ({"metric": "accuracy", "slice": {"lighting": "*"}, "min": 0.9}, "accuracy ≥ 0.9 (every lighting)"),
        ({"metric": "accuracy", "slice": {"lighting": "dim"}, "min": 0.9}, "accuracy ≥ 0.9 (lighting=dim)"),
        (
            {"metric": "accuracy", "maxDegradation": 0.01, "against": "champion"},
            "accuracy no more than 0.01 below the champion",
        ),
        ({"metric": "mae", "maxDegradation": 2, "against": "champion"}, "mae no more than 2 above the champion"),
        ({"metric": "latencyP95Ms", "deviceClass": "lane-camera", "max": 40}, "latencyP95Ms ≤ 40 on lane-camera"),
    ],
)
def test_a_gate_is_described_in_words(fields: dict[str, Any], words: str) -> None:
    assert describe(gate(**fields)) == words


@pytest.mark.parametrize(
    ("fields", "passed", "value", "limit"),
    [
        ({"metric": "accuracy", "min": 0.94}, True, 0.94, 0.94),
        ({"metric": "accuracy", "min": 0.95}, False, 0.94, 0.95),
        ({"metric": "sizeBytes", "max": "400KiB"}, True, 300_000, 409_600),
        ({"metric": "latencyP95Ms", "max": 10}, False, 12.0, 10),
        ({"metric": "loss", "min": 0.1, "max": 0.15}, False, 0.2, 0.15),
        ({"metric": "f1Macro", "min": 0.5}, None, None, 0.5),
        ({"metric": "accuracy", "slice": {"lighting": "dim"}, "min": 0.9}, False, 0.88, 0.9),
        ({"metric": "accuracy", "slice": {"lighting": "night"}, "min": 0.9}, None, None, 0.9),
    ],
)
def test_a_bound_is_judged(fields: dict[str, Any], passed: bool | None, value: float | None, limit: float) -> None:
    outcome = only(evaluate_gates([gate(**fields)], EVIDENCE, None))
    assert (outcome.passed, outcome.value, outcome.limit) == (passed, value, limit)


@pytest.mark.parametrize(
    "figure", [None, math.nan, math.inf, -math.inf, "0.99", True, [], {"accuracy": 1.0}, 10**400, b"1"]
)
def test_what_is_no_finite_number_is_inconclusive(figure: object) -> None:
    outcome = only(evaluate_gates([gate(metric="accuracy", min=0.0)], {"overall": {"accuracy": figure}}, None))
    assert outcome.passed is None
    assert outcome.detail
    assert not passes([outcome])


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: st.dictionaries(
            st.sampled_from(["overall", "slices", "accuracy", "lighting=dim"]), inner, max_size=3
        ),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, dict))
)
def test_malformed_evidence_never_passes_by_accident(evidence: Any) -> None:
    gates = [gate(metric="accuracy", min=0.5), gate(metric="accuracy", min=0.5, slice={"lighting": "*"})]
    for outcome in evaluate_gates(gates, evidence, None):
        if outcome.passed:
            assert outcome.value is not None
            assert math.isfinite(outcome.value)
            assert outcome.value >= 0.5


def test_every_slice_has_its_own_outcome() -> None:
    every = gate(metric="accuracy", slice={"lighting": "*"}, min=0.9)
    found = evaluate_gates([every], EVIDENCE, None)
    assert [(o.gate, o.passed) for o in found] == [
        ("accuracy ≥ 0.9 (lighting=day)", True),
        ("accuracy ≥ 0.9 (lighting=dim)", False),
    ]
    nothing = only(evaluate_gates([every], {"overall": {"accuracy": 1.0}}, None))
    assert nothing.passed is None
    assert "no slice of lighting" in nothing.detail


@pytest.mark.parametrize(
    ("metric", "value", "champion", "allowed", "passed"),
    [
        ("accuracy", 0.94, 0.95, 0.01, True),
        ("accuracy", 0.939, 0.95, 0.01, False),
        ("accuracy", 0.99, 0.95, 0.0, True),
        ("mae", 1.2, 1.0, 0.2, True),
        ("mae", 1.21, 1.0, 0.2, False),
        ("mae", 0.5, 1.0, 0.0, True),
        ("mae", 2e-10, 1e-10, 1e-11, False),
        ("latencyP50Ms", 11, 10, 0.5, False),
        ("r2", 0.5, 0.8, 0.1, False),
    ],
)
def test_degradation_counts_in_the_direction_of_the_metric(
    metric: str, value: float, champion: float, allowed: float, passed: bool
) -> None:
    against = gate(metric=metric, maxDegradation=allowed, against="champion")
    outcome = only(evaluate_gates([against], {"overall": {metric: value}}, {"overall": {metric: champion}}))
    assert outcome.passed is passed


def test_without_a_champion_nothing_has_degraded_but_without_evidence_nothing_passes() -> None:
    against = gate(metric="accuracy", maxDegradation=0.01, against="champion")
    first = only(evaluate_gates([against], EVIDENCE, None))
    assert (first.passed, first.detail) == (True, "no champion yet")
    assert only(evaluate_gates([against], {}, None)).passed is None
    assert only(evaluate_gates([against], EVIDENCE, {"overall": {}})).passed is None
    assert only(evaluate_gates([against], EVIDENCE, {"overall": {"accuracy": math.nan}})).passed is None


def test_a_slice_is_compared_with_the_champion_s_slice() -> None:
    against = gate(metric="accuracy", maxDegradation=0.01, against="champion", slice={"lighting": "dim"})
    champion = {"overall": {"accuracy": 0.5}, "slices": {"lighting=dim": {"accuracy": 0.95}}}
    assert only(evaluate_gates([against], EVIDENCE, champion)).passed is False


def test_the_first_variant_whose_gates_pass_is_chosen() -> None:
    gates = [gate(metric="accuracy", min=0.9)]
    poor, good = {"overall": {"accuracy": 0.8}}, {"overall": {"accuracy": 0.95}}
    choice = choose_variant(["int8", "fp32"], gates, {"int8": poor, "fp32": good}, None)
    assert choice.variant == "fp32"
    assert [o.passed for o in choice.outcomes["int8"]] == [False]
    assert passes(choice.verdict)
    assert choose_variant(["int8", "fp32"], gates, {"int8": good, "fp32": good}, None).variant == "int8"
    neither = choose_variant(["int8", "fp32"], gates, {"int8": poor, "fp32": poor}, None)
    assert neither.variant is None
    assert neither.verdict == neither.outcomes["fp32"]


def test_a_variant_that_was_not_evaluated_is_not_chosen_even_without_gates() -> None:
    choice = choose_variant(["int8", "fp32"], [], {"fp32": EVIDENCE}, None)
    assert choice.variant == "fp32"
    assert choose_variant(["int8"], [], {}, None).variant is None


def test_device_gates_are_judged_by_the_worst_device_of_their_class() -> None:
    camera = gate(metric="latencyP95Ms", deviceClass="camera", max=40)
    gates = [gate(metric="accuracy", min=0.5), camera]
    assert device_gates(gates) == (camera,)
    assert evaluate_gates([camera], EVIDENCE, None) == ()

    def passed(**figures: list[float | None]) -> bool | None:
        return only(evaluate_device_gates(gates, figures)).passed

    assert passed(camera=[10, 40]) is True
    assert passed(camera=[10, 40.5], kiosk=[1]) is False
    assert passed(kiosk=[1]) is None
    assert passed(camera=[]) is None
    assert passed(camera=[10, None]) is None
    assert passed(camera=[10, math.nan]) is None
    assert passed(camera=[None, 50]) is False


def facts(**changes: Any) -> DatasetFacts:
    return DatasetFacts.from_json(
        {
            "columns": {"label": {"type": "category", "values": ["hi", "lo"]}},
            "features": ["x"],
            "label": "label",
            "slices": {"lighting": ["day", "dim", "night"]},
            "inputShape": [1],
            "rows": {"train": 8, "validation": 1, "test": 2},
            "contentDigest": "sha256:0",
            **changes,
        }
    )


def test_a_slice_without_test_rows_is_inconclusive() -> None:
    every = gate(metric="accuracy", slice={"lighting": "*"}, min=0.8)
    found = evaluate_gates([every], EVIDENCE, None, facts(sliceRows={"lighting": {"night": {"train": 4, "test": 0}}}))
    assert [(o.gate, o.passed, o.value) for o in found] == [
        ("accuracy ≥ 0.8 (lighting=day)", True, 0.97),
        ("accuracy ≥ 0.8 (lighting=dim)", True, 0.88),
        ("accuracy ≥ 0.8 (lighting=night)", None, None),
    ]
    assert (
        found[-1].detail.startswith("no test rows of lighting=night (4 in train); ") and "stratify" in found[-1].detail
    )
    (of_an_older_dataset,) = [o for o in evaluate_gates([every], EVIDENCE, None, facts()) if o.passed is None]
    assert of_an_older_dataset.detail.startswith("no test rows of lighting=night; ")
    named = only(
        evaluate_gates([gate(metric="accuracy", slice={"lighting": "night"}, min=0.8)], EVIDENCE, None, facts())
    )
    assert named.detail.startswith("no test rows of lighting=night; ")
    misspelt = gate(metric="accuracy", slice={"lighting": "nigth"}, min=0.8)
    unknown = only(evaluate_gates([misspelt], EVIDENCE, None, facts()))
    assert (unknown.passed, unknown.detail) == (None, "the dataset has no lighting=nigth (did you mean night?)")


def test_a_macro_figure_needs_test_rows_of_every_class() -> None:
    macro = gate(metric="f1Macro", min=0.5)
    evidence = {"overall": {"f1Macro": 1.0, "accuracy": 1.0}, "rows": 7}
    untested = facts(classRows={"train": {"hi": 5, "lo": 3}, "test": {"hi": 7, "lo": 0}})
    outcome = only(evaluate_gates([macro], evidence, None, untested))
    assert outcome.passed is None and outcome.detail.startswith("fewer than 1 test rows of lo (0); ")
    assert only(evaluate_gates([gate(metric="accuracy", min=0.5)], evidence, None, untested)).passed is True
    tested = facts(classRows={"test": {"hi": 4, "lo": 3}})
    assert only(evaluate_gates([macro], evidence, None, tested)).passed is True
    assert only(evaluate_gates([gate(metric="f1Macro", min=0.5, minSupport=4)], evidence, None, tested)).passed is None


@pytest.mark.parametrize(("support", "passed"), [(None, True), (3, True), (4, None)])
def test_a_figure_of_too_few_rows_is_inconclusive(support: int | None, passed: bool | None) -> None:
    more = {} if support is None else {"minSupport": support}
    evidence = {"overall": {"accuracy": 1.0}, "rows": 3, "slices": {"lighting=dim": {"accuracy": 1.0, "rows": 3}}}
    for where in ({}, {"slice": {"lighting": "dim"}}):
        outcome = only(evaluate_gates([gate(metric="accuracy", min=0.9, **where, **more)], evidence, None))
        assert outcome.passed is passed
        if passed is None:
            assert outcome.detail.startswith("3 test rows, fewer than the 4 of minSupport")
            assert "of 4 rows or more" in outcome.gate


def test_support_that_nobody_counted_or_that_means_nothing() -> None:
    asked = gate(metric="accuracy", min=0.9, minSupport=1)
    assert only(evaluate_gates([asked], {"overall": {"accuracy": 1.0}}, None)).passed is None
    with pytest.raises(ValueError, match="rests on no rows"):
        gate(metric="sizeBytes", max=1, minSupport=5)


# ── confidence ────────────────────────────────────────────────────────────────────────────────────────────────


def resampled(values: list[Any], overall: float, rows: int = 200, drawn: str = "sha256:a", key: str = "") -> Any:
    figures = {"accuracy": overall}
    return {
        "overall": figures,
        "slices": {key: {**figures, "rows": rows}} if key else {},
        "rows": rows,
        "resampled": {"rows": drawn, "figures": {key: {"accuracy": values}}},
    }


SPREAD = [0.9 + i / 10_000 for i in range(1000)]


@pytest.mark.parametrize(("least", "passed"), [(0.9025, True), (0.9026, False)])
def test_with_a_confidence_the_lower_end_must_reach_the_minimum(least: float, passed: bool) -> None:
    sure = gate(metric="accuracy", min=least, confidence=0.95)

    outcome = only(evaluate_gates([sure], resampled(SPREAD, 0.95), None))

    assert (outcome.passed, outcome.value, outcome.detail) == (passed, 0.95, "between 0.9025 and 0.9974")
    assert outcome.gate == f"accuracy ≥ {least:g} (with confidence 0.95)"


def test_with_a_confidence_the_upper_end_must_keep_to_the_maximum() -> None:
    found = resampled(SPREAD, 0.95)
    assert only(evaluate_gates([gate(metric="accuracy", max=0.99745, confidence=0.95)], found, None)).passed is True
    assert only(evaluate_gates([gate(metric="accuracy", max=0.9973, confidence=0.95)], found, None)).passed is False


@pytest.mark.parametrize("values", [[], [0.9, None], [0.9, math.nan], "0.9", None])
def test_without_a_figure_for_every_resample_a_confidence_is_inconclusive(values: Any) -> None:
    outcome = only(evaluate_gates([gate(metric="accuracy", min=0.1, confidence=0.9)], resampled(values, 0.95), None))
    assert outcome.passed is None
    assert "too few rows" in outcome.detail
    assert only(evaluate_gates([gate(metric="accuracy", min=0.1, confidence=0.9)], EVIDENCE, None)).passed is None


@pytest.mark.parametrize(("rows", "passed"), [(3, False), (71, False), (72, True)])
def test_few_rows_that_are_all_right_prove_little(rows: int, passed: bool) -> None:
    found = resampled([1.0] * 1000, 1.0, rows, key="lane=2")
    sure = gate(metric="accuracy", min=0.95, confidence=0.95, slice={"lane": "2"})

    assert only(evaluate_gates([sure], found, None)).passed is passed


def test_the_difference_from_the_champion_is_paired_by_resample() -> None:
    close = gate(metric="accuracy", maxDegradation=0.011, against="champion", confidence=0.95)
    champion = resampled(SPREAD, 0.95)
    always_a_little_worse = resampled([value - 0.01 for value in SPREAD], 0.94)
    turned = resampled([value - 0.01 for value in reversed(SPREAD)], 0.94)

    paired = only(evaluate_gates([close], always_a_little_worse, champion))
    assert (paired.passed, paired.detail) == (
        True,
        "champion has 0.95; on resampled rows 0.01 worse at most",
    )
    assert only(evaluate_gates([close], turned, champion)).passed is False
    on_other_rows = resampled(SPREAD, 0.95, drawn="sha256:b")
    assert only(evaluate_gates([close], always_a_little_worse, on_other_rows)).passed is None
    assert only(evaluate_gates([close], always_a_little_worse, None)).passed is True


@pytest.mark.parametrize("fields", [{"metric": "sizeBytes"}, {"metric": "latencyP95Ms", "deviceClass": "till"}])
def test_what_rests_on_no_rows_takes_no_confidence(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="confidence has nothing to say"):
        gate(**fields, max=1, confidence=0.95)


def test_a_figure_that_is_not_resampled_takes_no_confidence() -> None:
    with pytest.raises(ValueError, match="map is not computed over resampled rows"):
        gate(metric="map", min=0.5, confidence=0.95)
