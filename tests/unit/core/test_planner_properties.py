"""What holds for every plan: it is pure, ordered, single-minded, and leads to a state that has none."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import BuildStep, Plan, step_id
from edgewright.core.planning.planner import plan, reachable
from fakes.source import snapshot_of
from harness.applied import GOOD, Outputs, apply, build
from harness.profiles import examples

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HEAD = "apiVersion: edgewright.dev/v1alpha1\n"


def files_of(shape: dict[str, Any]) -> dict[str, str]:
    """Write a repository of some models on some datasets, with a rollout each."""
    files = {"data/tags.csv": f"weight,label\n{shape['content']},x\n"}
    for number in range(shape["datasets"]):
        source = "{uri: data/tags.csv, format: csv}"
        columns = "{weight: {type: number}, label: {type: category}}"
        files[f"specs/data-{number}.yaml"] = (
            f"{HEAD}kind: Dataset\nmetadata: {{name: data-{number}}}\n"
            f"spec: {{source: {source}, columns: {columns}, split: {{seed: {number}}}}}\n"
        )
    files["specs/fleet.yaml"] = (
        f"{HEAD}kind: Fleet\nmetadata: {{name: lanes}}\nspec: {{inventory: [{{id: lane-1}}, {{id: lane-2}}]}}\n"
    )
    files["specs/thresholds.yaml"] = (
        f"{HEAD}kind: Thresholds\nmetadata: {{name: good}}\nspec: {{gates: [{{metric: accuracy, min: 0.9}}, "
        "{metric: accuracy, maxDegradation: 0.02, against: champion}]}\n"
    )
    for number, model in enumerate(shape["models"]):
        mode = "static-int8" if model["quantized"] else "none"
        gated = ", thresholds: good" if model["gated"] else ""
        files[f"specs/model-{number}.yaml"] = (
            f"{HEAD}kind: Model\nmetadata: {{name: model-{number}}}\n"
            f"spec: {{task: tabular-classification, dataset: data-{model['dataset'] % shape['datasets']}, "
            f"architecture: {{use: mlp}}, training: {{epochs: {model['epochs']}}}, "
            f"package: {{quantization: {{mode: {mode}}}}}{gated}}}\n"
        )
        files[f"specs/rollout-{number}.yaml"] = (
            f"{HEAD}kind: Rollout\nmetadata: {{name: model-{number}}}\nspec: {{model: model-{number}, fleet: lanes}}\n"
        )
    return files


MODELS = st.fixed_dictionaries(
    {
        "dataset": st.integers(0, 1),
        "epochs": st.integers(1, 2),
        "quantized": st.booleans(),
        "gated": st.booleans(),
    }
)
SHAPES = st.fixed_dictionaries(
    {"content": st.integers(1, 2), "datasets": st.integers(1, 2), "models": st.lists(MODELS, min_size=1, max_size=3)}
)
ACCURACIES = st.sampled_from([0.97, 0.95, 0.8, float("nan")])


def outputs(accuracies: list[float]) -> Outputs:
    """Give each model figures of its own; the first variant tried may be worse than its fallback."""
    figures = {
        f"model-{number}": {"int8": {**GOOD, "overall": {"accuracy": accuracy}}, "fp32": GOOD}
        for number, accuracy in enumerate(accuracies)
    }
    return Outputs(figures)


def assert_well_formed(found: Plan) -> None:
    ids = [step_id(step) for step in found.steps]
    assert len(set(ids)) == len(ids)
    for position, step in enumerate(found.steps):
        assert set(step.needs) <= set(ids[:position])
        assert step.reasons or not isinstance(step, BuildStep)
        if isinstance(step, BuildStep) and step.fingerprint is not None:
            assert all(step.inputs.values())
    fingerprints = [step.fingerprint for step in found.steps if isinstance(step, BuildStep) and step.fingerprint]
    assert len(set(fingerprints)) == len(fingerprints), "nothing is made twice"


@settings(deadline=None, max_examples=examples(40))
@given(SHAPES, SHAPES, st.lists(ACCURACIES, min_size=3, max_size=3), st.integers(0, 20))
def test_every_plan_is_pure_ordered_and_leads_to_an_empty_one(
    first: dict[str, Any], second: dict[str, Any], accuracies: list[float], done: int
) -> None:
    base, head = snapshot_of(files_of(first)), snapshot_of(files_of(second))
    observed = apply(base, Observed(), NOW)
    assert not plan(base, observed, NOW).steps

    left = [done]

    def some(step: object) -> bool:
        left[0] -= 1
        return left[0] >= 0

    partly = build(head, observed, NOW, outputs(accuracies), some)
    found = plan(head, partly, NOW)
    assert found == plan(head, partly, NOW)
    assert_well_formed(found)

    finished = apply(head, partly, NOW, outputs(accuracies))
    after = plan(head, replace(finished, inventory=frozenset(head.resources)), NOW)
    assert not after.steps
    wanted = reachable(head, finished, NOW)
    assert wanted <= finished.artifacts.keys()


@settings(deadline=None, max_examples=examples(20))
@given(SHAPES)
def test_where_a_spec_stands_in_the_repository_changes_nothing(shape: dict[str, Any]) -> None:
    files = files_of(shape)
    moved = {
        path.replace("specs/", "other/deep/") if path.startswith("specs/") else path: text
        for path, text in files.items()
    }
    here, there = snapshot_of(files, "r"), snapshot_of(moved, "r")
    assert plan(here, Observed(), NOW) == plan(there, Observed(), NOW)
