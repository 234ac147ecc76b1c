import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.regression import r2_score

from edgewright.core.artifact import Action
from edgewright.core.facts import ExportedVariant, ExportFacts
from edgewright.core.gates import evaluate_gates
from edgewright.core.intervals import difference_interval, figure_interval
from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.class_metrics import ClassEvaluator
from edgewright.pipeline.evaluation.number_metrics import NumberEvaluator
from edgewright.pipeline.evaluation.score_kinds import ScoreKind, as_probabilities, score_kind
from edgewright.pipeline.evaluation.step import build, without_latency
from edgewright.ports import Built
from edgewright_schemas.tasks import TASKS
from edgewright_schemas.thresholds import Gate
from samples.model_steps import IMPORTED, linear_onnx, step, table_rows
from samples.training_data import DatasetFiles

CLASSES = ["a", "b", "c"]
REGRESSION = {**IMPORTED, "task": "regression"}


def exported(**variants: Path) -> Built[Any]:
    files = {f"model.{name}.onnx": path for name, path in variants.items()}
    facts = ExportFacts(
        variants={name: ExportedVariant(digest="", size=0, precision="") for name in variants},
        parity={},
        input_name="rows",
        output_name="scores",
        input_shape=(3,),
        input_type="float32",
    )
    return Built("sha256:" + "4" * 64, files, facts)


def evaluate(folder: Path, dataset: DatasetFiles, spec: Mapping[str, Any] = IMPORTED, **variants: Path) -> Built[Any]:
    return build(step(Action.EVALUATE, folder, spec, {"export": exported(**variants), "dataset": dataset}))


def evaluate_for(metrics: Sequence[str], folder: Path, dataset: DatasetFiles, **variants: Path) -> Built[Any]:
    """Evaluate for gates that ask for these metrics with a confidence."""
    context = step(Action.EVALUATE, folder, IMPORTED, {"export": exported(**variants), "dataset": dataset})
    return build(replace(context, task=replace(context.task, params={"resampled": list(metrics)})))


def one_hot(predicted: Sequence[int], confidence: float = 4.0) -> Any:
    """Features from which a model with identity weights predicts these classes."""
    return np.eye(3)[list(predicted)] * confidence


def calibration_error(chances: Any, truth: Any) -> float:
    """Compute it row by row into 15 bins."""
    sums: dict[int, list[float]] = {}
    for row, label in zip(chances, truth, strict=True):
        sums.setdefault(math.ceil(max(row) * 15), []).append(max(row) - (row.argmax() == label))
    return sum(abs(sum(gaps)) for gaps in sums.values()) / len(truth)


def overall(built: Built[Any], variant: str = "fp32") -> dict[str, Any]:
    found: dict[str, Any] = built.facts.variants[variant]["overall"]
    return found


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return linear_onnx(tmp_path / "identity.onnx", np.eye(3))


def test_classification_figures_are_those_of_scikit_learn_overall_and_in_every_slice(
    tmp_path: Path, identity: Path
) -> None:
    rng = np.random.default_rng(7)
    scores, truth = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    light = [("dark", "bright", None)[i % 3] for i in range(60)]
    data = table_rows(tmp_path / "data", scores, [CLASSES[t] for t in truth], CLASSES, {"light": light})

    built = evaluate(tmp_path / "work", data, fp32=identity)

    def expected(rows: Any) -> dict[str, float | None]:
        shifted = np.exp(scores[rows].astype(np.float32).astype(np.float64))
        chances = shifted / shifted.sum(1, keepdims=True)
        predicted = scores[rows].argmax(1)
        options = {"average": "macro", "zero_division": 0}
        return {
            "accuracy": metrics.accuracy_score(truth[rows], predicted),
            "f1Macro": metrics.f1_score(truth[rows], predicted, **options),
            "precisionMacro": metrics.precision_score(truth[rows], predicted, **options),
            "recallMacro": metrics.recall_score(truth[rows], predicted, **options),
            "loss": metrics.log_loss(truth[rows], chances, labels=[0, 1, 2]),
            "rocAuc": metrics.roc_auc_score(truth[rows], chances, multi_class="ovr"),
            "averagePrecision": metrics.average_precision_score(np.eye(3)[truth[rows]], chances),
            "brier": float(np.square(chances - np.eye(3)[truth[rows]]).sum(1).mean()),
            "calibrationError": calibration_error(chances, truth[rows]),
            "top3Accuracy": None,
            "top5Accuracy": None,
        }

    found = built.facts.variants["fp32"]
    assert found["overall"] == pytest.approx(expected(np.arange(60)), abs=1e-6)
    assert set(found["slices"]) == {"light=bright", "light=dark"}
    for value, start in (("dark", 0), ("bright", 1)):
        figures = dict(found["slices"][f"light={value}"])
        assert figures.pop("rows") == 20
        assert figures == pytest.approx(expected(np.arange(start, 60, 3)), abs=1e-6)
    assert found["sizeBytes"] == identity.stat().st_size
    assert 0 < found["latencyP50Ms"] <= found["latencyP95Ms"]
    evidence = json.loads(built.files["evidence.json"].read_bytes())
    assert evidence["classes"] == CLASSES
    assert evidence["variants"]["fp32"]["confusion"] == metrics.confusion_matrix(truth, scores.argmax(1)).tolist()


def test_figures_of_resampled_rows_are_kept_where_a_gate_asks_for_them(tmp_path: Path, identity: Path) -> None:
    rng = np.random.default_rng(11)
    truth = rng.integers(0, 3, 90)
    predicted = np.where(rng.random(90) < 0.8, truth, (truth + 1) % 3)
    worse = linear_onnx(tmp_path / "worse.onnx", np.eye(3)[[1, 0, 2]])
    light = [("dark", "bright")[i % 2] for i in range(90)]
    data = table_rows(
        tmp_path / "data", one_hot(predicted.tolist()), [CLASSES[t] for t in truth], CLASSES, {"light": light}
    )

    built = evaluate_for(["accuracy"], tmp_path / "work", data, fp32=identity)
    other = evaluate_for(["accuracy"], tmp_path / "other", data, fp32=worse)

    ours, theirs = built.facts.variants["fp32"], other.facts.variants["fp32"]
    assert set(ours["resampled"]["figures"]) == {"", "light=bright", "light=dark"}
    share = ours["overall"]["accuracy"]
    low, high = figure_interval(ours, "", "accuracy", 0.95) or (0.0, 0.0)
    assert high - share == pytest.approx(1.96 * math.sqrt(share * (1 - share) / 90), rel=0.25)
    assert share - low == pytest.approx(1.96 * math.sqrt(share * (1 - share) / 90), rel=0.25)
    assert difference_interval(ours, ours, "light=dark", "accuracy", 0.95) == (0.0, 0.0)
    apart = difference_interval(ours, theirs, "", "accuracy", 0.95)
    assert apart is not None and apart[0] > 0.2
    assert "resampled" not in evaluate(tmp_path / "plain", data, fp32=identity).facts.variants["fp32"]


def test_an_accuracy_exactly_at_a_gate_passes_it(tmp_path: Path, identity: Path) -> None:
    data = table_rows(tmp_path / "data", one_hot([0] * 19 + [1]), ["a"] * 20, CLASSES)

    built = evaluate(tmp_path / "work", data, fp32=identity)

    (outcome,) = evaluate_gates([Gate(metric="accuracy", min=0.95)], built.facts.variants["fp32"], None)
    assert outcome.passed is True


def test_regression_figures_are_those_of_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    features, noise = rng.normal(size=(50, 3)), rng.normal(size=50)
    weights = np.array([[1.0], [2.0], [-1.0]])
    truth = (features @ weights).ravel() + noise
    lanes = ["1", "2"] * 25
    data = table_rows(tmp_path / "data", features, truth.tolist(), None, {"lane": lanes})
    model = linear_onnx(tmp_path / "model.onnx", weights)

    built = evaluate(tmp_path / "work", data, REGRESSION, fp32=model)

    for found, rows in (
        (overall(built), slice(None)),
        (built.facts.variants["fp32"]["slices"]["lane=2"], slice(1, None, 2)),
    ):
        predicted = (features @ weights).ravel()[rows]
        assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth[rows], predicted), rel=1e-5)
        assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth[rows], predicted), rel=1e-5)
        assert found["r2"] == pytest.approx(metrics.r2_score(truth[rows], predicted), rel=1e-5)
    assert json.loads(built.files["evidence.json"].read_bytes())["variants"]["fp32"]["confusion"] is None


@pytest.mark.parametrize("unit", [1e-9, 1e-4, 1.0, 1e6])
def test_r2_does_not_depend_on_the_unit(unit: float) -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(200)
    for predicted in (rng.random(200), truth + rng.normal(scale=0.05, size=200)):
        labels, found = (torch.tensor(each * unit, dtype=torch.float32) for each in (truth, predicted))

        computed = NumberEvaluator().figures(found, labels)["r2"]

        assert computed == pytest.approx(metrics.r2_score(labels.double(), found.double()), abs=1e-9)


def test_r2_keeps_its_digits_for_a_target_that_varies_little_around_a_large_number() -> None:
    truth = torch.tensor([16_777_000.0, 16_777_001, 16_777_002, 16_777_003] * 50)
    found = truth + torch.tensor([1.0, -1.0] * 100)

    assert NumberEvaluator().figures(found, truth)["r2"] == pytest.approx(
        metrics.r2_score(truth.double(), found.double()), rel=1e-9
    )


def test_r2_of_ordinary_targets_is_that_of_torchmetrics_to_the_last_bit() -> None:
    rng = np.random.default_rng(4)
    for scale in (0.3, 7.0, 4000.0):
        truth = torch.tensor(rng.normal(2.0, scale, 333), dtype=torch.float32)
        found = truth + torch.tensor(rng.normal(0, scale / 3, 333), dtype=torch.float32)

        theirs = r2_score(found.double(), truth.double()).item()

        assert NumberEvaluator().figures(found, truth)["r2"] == theirs


def test_r2_of_a_constant_target_is_not_a_number_someone_could_pass_a_gate_with(tmp_path: Path) -> None:
    data = table_rows(tmp_path / "data", np.ones((5, 3)), [2.0] * 5, None)
    model = linear_onnx(tmp_path / "model.onnx", np.ones((3, 1)))

    assert overall(evaluate(tmp_path / "work", data, REGRESSION, fp32=model)) == {"mae": 1.0, "rmse": 1.0, "r2": None}


def test_an_output_that_is_no_finite_number_leaves_its_slice_and_the_whole_without_figures(
    tmp_path: Path, identity: Path
) -> None:
    scores = one_hot([0, 1, 2, 0])
    scores[1, 0] = np.inf
    data = table_rows(
        tmp_path / "data", scores, ["a", "b", "c", "a"], CLASSES, {"light": ["dark", "dark", "bright", "bright"]}
    )

    built = evaluate(tmp_path / "work", data, fp32=identity)

    found = built.facts.variants["fp32"]
    assert set(found["overall"].values()) == {None}
    assert found["rowsNotFinite"] == 1
    assert found["slices"]["light=dark"] == {**dict.fromkeys(found["overall"]), "rows": 2}
    assert found["slices"]["light=bright"]["accuracy"] == 1.0
    (outcome,) = evaluate_gates([Gate(metric="accuracy", min=0.5)], found, None)
    assert outcome.passed is None


def test_a_model_of_probabilities_has_the_loss_of_the_same_model_of_logits(tmp_path: Path, identity: Path) -> None:
    scores = np.random.default_rng(3).normal(size=(4, 3))
    data = table_rows(tmp_path / "data", scores, ["a", "b", "a", "c"], CLASSES)
    softmax = linear_onnx(tmp_path / "softmax.onnx", np.eye(3), softmax=True)

    of_logits = evaluate(tmp_path / "logits", data, fp32=identity)
    of_probabilities = evaluate(tmp_path / "probabilities", data, fp32=softmax)

    assert overall(of_probabilities) == pytest.approx(overall(of_logits), abs=1e-6)
    told = [json.loads(b.files["evidence.json"].read_bytes())["outputs"] for b in (of_logits, of_probabilities)]
    assert told == ["logits", "probabilities"]


def test_one_probability_above_1_does_not_make_logits_of_all(tmp_path: Path, identity: Path) -> None:
    scores = np.tile([0.98, 0.01, 0.01], (200, 1))
    scores[7] = [1.0000001, 0.0, 0.0]
    scores[9] = [1.02, -0.02, 0.0]
    data = table_rows(tmp_path / "data", scores[:9], ["a"] * 9, CLASSES)

    built = evaluate(tmp_path / "work", data, fp32=identity)

    assert overall(built)["loss"] == pytest.approx(-np.log(0.98) * 8 / 9, abs=1e-6)
    assert score_kind(identity, torch.tensor(scores)) is ScoreKind.LOGITS, "what is far outside is no probability"


def test_every_variant_is_taken_for_what_the_float_one_is(tmp_path: Path, identity: Path) -> None:
    """int8 probabilities come in steps, and add up to 1 only roughly."""
    exact = np.array([[0.9, 0.06, 0.04], [0.03, 0.95, 0.02], [0.05, 0.05, 0.9]])
    data = table_rows(tmp_path / "data", exact, CLASSES, CLASSES, {"shelf": ["1", "2", "2"]})
    rough = linear_onnx(tmp_path / "rough.onnx", np.diag([1.06, 1.05, 1.07]))

    built = evaluate(tmp_path / "work", data, fp32=identity, int8=rough)

    assert overall(built, "int8")["loss"] == pytest.approx(overall(built, "fp32")["loss"], abs=0.01)
    assert built.facts.variants["int8"]["slices"]["shelf=1"]["loss"] == pytest.approx(-np.log(0.9), abs=0.01)


def test_softmax_is_seen_in_the_graph_where_its_numbers_do_not_tell(tmp_path: Path) -> None:
    """The many small probabilities of an int8 softmax become 0, and the rest adds up to far less than 1."""
    softmax = linear_onnx(tmp_path / "softmax.onnx", np.eye(3), softmax=True)

    assert score_kind(softmax, torch.full((4, 3), 0.1)) is ScoreKind.PROBABILITIES
    found = as_probabilities(torch.tensor([[0.1, 0.3, 0.0], [0.0, 0.0, 0.0]]), ScoreKind.PROBABILITIES)
    assert found.tolist() == [pytest.approx([0.25, 0.75, 0.0]), [0.0, 0.0, 0.0]]


def test_logits_that_look_like_shares_are_logits(identity: Path) -> None:
    rng = np.random.default_rng(1)

    assert score_kind(identity, torch.tensor(rng.random((50, 3)) * 2)) is ScoreKind.LOGITS
    assert score_kind(identity, torch.tensor(rng.normal(scale=0.1, size=(50, 3)))) is ScoreKind.LOGITS
    assert score_kind(identity, torch.full((5, 3), float("nan"))) is ScoreKind.LOGITS


def test_variants_are_compared_with_each_other(tmp_path: Path, identity: Path) -> None:
    data = table_rows(tmp_path / "data", one_hot([0, 1, 2, 0]), ["a", "b", "c", "a"], CLASSES)
    swapped = linear_onnx(tmp_path / "swapped.onnx", np.eye(3)[[0, 2, 1]])

    built = evaluate(tmp_path / "work", data, fp32=identity, int8=swapped)

    evidence = json.loads(built.files["evidence.json"].read_bytes())
    assert list(evidence["variants"]) == ["int8", "fp32"]
    assert evidence["agreementWithFp32"] == {"int8": {"maxAbsDifference": 4.0, "sameClass": 0.5}}
    assert overall(built, "int8")["accuracy"] == 0.5


def test_the_digest_names_the_evidence_without_what_differs_from_run_to_run(tmp_path: Path, identity: Path) -> None:
    data = table_rows(tmp_path / "data", one_hot([0, 1, 2, 0]), ["a", "b", "c", "a"], CLASSES)
    other = table_rows(tmp_path / "other", one_hot([0, 1, 2, 0]), ["a", "b", "c", "b"], CLASSES)

    first, again = (evaluate(tmp_path / f"work{i}", data, fp32=identity) for i in range(2))

    evidence = [json.loads(b.files["evidence.json"].read_bytes()) for b in (first, again)]
    assert evidence[0] != evidence[1]
    assert without_latency(evidence[0]) == without_latency(evidence[1])
    assert first.digest == again.digest
    assert first.digest != evaluate(tmp_path / "work2", other, fp32=identity).digest


@pytest.mark.parametrize(
    ("spec", "values", "outputs", "message"),
    [
        (IMPORTED, CLASSES, 2, r"output of shape \(4, 2\); expected is \(4, 3\)"),
        (REGRESSION, None, 2, r"output of shape \(4, 2\); expected is \(4, 1\)"),
        (REGRESSION, CLASSES, 1, r"task regression needs a numeric label"),
        (IMPORTED, None, 1, r"needs a label with categories, but column 'label' of dataset table is of type number"),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_refused_with_both_shapes(
    tmp_path: Path, spec: dict[str, Any], values: list[str] | None, outputs: int, message: str
) -> None:
    labels: list[Any] = ["a", "b", "c", "a"] if values else [1.0, 2.0, 3.0, 4.0]
    data = table_rows(tmp_path / "data", np.ones((4, 3)), labels, values)
    model = linear_onnx(tmp_path / "model.onnx", np.ones((3, outputs)))

    with pytest.raises(StepFailed, match=message) as raised:
        evaluate(tmp_path / "work", data, spec, fp32=model)
    assert raised.value.hint


def test_without_test_rows_there_is_no_evidence(tmp_path: Path, identity: Path) -> None:
    data = table_rows(tmp_path / "data", np.ones((0, 3)), [], CLASSES)

    with pytest.raises(StepFailed, match="test split of dataset table has no rows"):
        evaluate(tmp_path / "work", data, fp32=identity)


def test_no_rows_give_no_figures() -> None:
    figures = ClassEvaluator(3).figures(torch.zeros((0, 3)), torch.zeros(0, dtype=torch.int64))

    assert set(figures.values()) == {None}
    assert tuple(figures) == TASKS["tabular-classification"].metric_names


def test_a_model_of_one_row_at_a_time_has_the_same_figures(tmp_path: Path, identity: Path) -> None:
    data = table_rows(tmp_path / "data", one_hot([0, 1, 2, 0]), ["a", "b", "a", "a"], CLASSES)
    single = linear_onnx(tmp_path / "single.onnx", np.eye(3), batch=1)

    built = evaluate(tmp_path / "work", data, fp32=identity, int8=single)

    assert overall(built, "int8") == overall(built, "fp32")
