"""Built-ins, arguments and metrics that specs misspell or misplace: said before anything is built, and where."""

from pathlib import Path

import pytest

from edgewright.errors import SpecError
from edgewright.source.git import GitSource
from fakes.repositories import DATASET, FILES, MODEL, ROLLOUT, THRESHOLDS, make_repository


def problems(folder: Path, changes: dict[str, str]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        GitSource(make_repository(folder, {**FILES, **changes})).snapshot()
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (
            "use: mpl",
            "7:23: spec.architecture.use: there is no built-in architecture 'mpl' "
            "(did you mean mlp?; your own: code/file.py:name)",
        ),
        (
            "use: transformer",
            "7:23: spec.architecture.use: there is no built-in architecture 'transformer' "
            "(known: mlp, small-cnn; your own: code/file.py:name)",
        ),
        (
            "use: mlp, with: {hiden: [8]}",
            "7:35: spec.architecture.with.hiden: mlp takes no such argument (did you mean hidden?)",
        ),
        (
            "use: mlp, with: {hidden: [8, 0]}",
            "7:47: spec.architecture.with.hidden[1]: input should be greater than or equal to 1, found 0",
        ),
    ],
)
def test_an_architecture_must_be_known(tmp_path: Path, architecture: str, expected: str) -> None:
    model = MODEL.replace("use: mlp", architecture)
    assert problems(tmp_path, {"specs/model.yaml": model}) == [f"specs/model.yaml:{expected}"]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            "use: cilp",
            "8:17: spec.steps[0].use: there is no built-in step 'cilp' "
            "(did you mean clip?; your own: code/file.py:name)",
        ),
        ("use: clip, with: {min: 1}", "8:29: spec.steps[0].with.column: clip needs this argument (add it)"),
        (
            "use: grayscale, with: {levels: 3}",
            "8:35: spec.steps[0].with.levels: grayscale takes no such argument (remove it)",
        ),
        (
            "use: select, with: {column: a, values: [[b]]}",
            "8:52: spec.steps[0].with.values[0]: input should be a valid string, found ['b']",
        ),
    ],
)
def test_a_step_must_be_known(tmp_path: Path, step: str, expected: str) -> None:
    found = problems(tmp_path, {"specs/dataset.yaml": DATASET + f"  steps: [{{{step}}}]\n"})
    assert found == [f"specs/dataset.yaml:{expected}"]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("acuracy", "there is no metric 'acuracy' (did you mean accuracy?)"),
        (
            "mae",
            "mae is not measured for model 'reader', whose task is tabular-classification, so this gate can never pass "
            "(use one of accuracy, f1Macro, precisionMacro, recallMacro, loss)",
        ),
    ],
)
def test_a_gates_metric_must_be_measured(tmp_path: Path, metric: str, expected: str) -> None:
    found = problems(tmp_path, {"specs/thresholds.yaml": THRESHOLDS.replace("accuracy", metric)})
    assert found == [f"specs/thresholds.yaml:6:16: spec.gates[0].metric: {expected}"]


def test_early_stopping_watches_a_metric_of_the_task(tmp_path: Path) -> None:
    model = MODEL + "  training: {earlyStopping: {metric: rmse}}\n"
    assert problems(tmp_path, {"specs/model.yaml": model}) == [
        "specs/model.yaml:9:38: spec.training.earlyStopping.metric: rmse does not fit tabular-classification "
        "(use one of loss, accuracy, f1Macro)"
    ]


def test_a_window_must_open_at_some_time(tmp_path: Path) -> None:
    rollout = ROLLOUT + '  window: {cron: "0 0 30 2 *", duration: 1h}\n'
    assert problems(tmp_path, {"specs/rollout.yaml": rollout}) == [
        "specs/rollout.yaml:7:18: spec.window.cron: no date fits '0 0 30 2 *', so this window never opens "
        "(its fields are minute, hour, day of month, month and day of week)"
    ]
