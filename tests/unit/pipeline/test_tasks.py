"""The table of tasks: what the schema names is declared, and what is declared is implemented."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.facts import Column, DatasetFacts
from edgewright.errors import StepFailed
from edgewright.pipeline.tasks.protocol import Labels, outputs_of
from edgewright.pipeline.tasks.registry import task_of
from edgewright_schemas.model import EarlyStopping, Task
from edgewright_schemas.tasks import LOWER_IS_BETTER, METRICS, TASKS

NAMES = get_args(Task)
ROWWISE = tuple(name for name in NAMES if name != "object-detection")
"""Tasks with one label for each row; ``test_detection_task`` has the other."""
FACTS = {
    "columns": {},
    "features": ["image"],
    "label": "state",
    "slices": {},
    "inputShape": [3, 8, 8],
    "rows": {"train": 8, "validation": 1, "test": 1},
    "contentDigest": "sha256:" + "0" * 64,
}


def test_every_task_of_the_schema_is_declared() -> None:
    assert set(NAMES) == set(TASKS)


@pytest.mark.parametrize("name", ROWWISE)
def test_what_a_task_declares_it_measures(name: str) -> None:
    task = task_of(name)
    classes = 6 if "category" in task.declaration.label_types else None
    labels = torch.arange(6) % 6 if classes else torch.arange(6.0)
    evaluator = task.evaluator(classes)
    outputs = torch.eye(6)[labels.long()].numpy() if classes else labels.numpy().reshape(-1, 1)

    figures = evaluator.figures(evaluator.predictions(outputs, "fp32"), labels)

    assert tuple(figures) == task.declaration.metric_names
    # Of six logits 1, 0, 0, 0, 0, 0 the first has a probability of 0.3522.
    unsure = {"loss": 1.0435, "brier": 0.5036, "calibrationError": 0.6478}
    perfect = {metric: pytest.approx(value, abs=1e-3) for metric, value in unsure.items()}
    for metric, value in figures.items():
        assert value == perfect.get(metric, 0.0 if metric in LOWER_IS_BETTER else 1.0), metric
    assert set(task.declaration.metric_names) <= set(METRICS)


@pytest.mark.parametrize("name", ROWWISE)
def test_what_early_stopping_may_watch_is_computed_after_each_epoch(name: str) -> None:
    task = task_of(name)
    outputs = torch.zeros((4, 2)) if "category" in task.declaration.label_types else torch.zeros((4, 1))
    labels = torch.tensor([0, 1, 0, 1])

    found = task.validation_figures(outputs, labels)

    assert {*found, "loss"} == {"loss", *task.declaration.watched_names}
    known = get_args(EarlyStopping.model_fields["metric"].annotation)
    assert set(task.declaration.watched_names) <= set(known)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("label_type", ["image", "category", "number", "integer", "text", "boolean", "boxes"])
def test_a_label_of_another_type_is_refused_by_name(name: str, label_type: str) -> None:
    task = task_of(name)
    values = {"category": ("a", "b"), "boolean": ("false", "true"), "boxes": ("a", "b")}.get(label_type)
    column = Column(type=label_type, values=values)
    facts = DatasetFacts.from_json({**FACTS, "columns": {"state": column.to_json()}})
    if label_type in task.declaration.label_types:
        assert outputs_of(task, facts, "tills") == (2 if values else 1)
        return
    with pytest.raises(StepFailed) as refused:
        task.classes(facts, "tills")
    assert f"column 'state' of dataset tills is of type {label_type}" in str(refused.value)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.integers(1, 70),
    st.sampled_from(ROWWISE),
)
def test_golden_rows_are_rows_in_order_and_none_twice(values: list[int], count: int, name: str) -> None:
    task = task_of(name)
    of_classes = "category" in task.declaration.label_types
    labels: Labels = np.array(values, np.int64) if of_classes else np.array(values, np.float32)

    chosen = task.golden_rows(labels, count).tolist()

    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, len(values))
    assert set(chosen) <= set(range(len(values)))
