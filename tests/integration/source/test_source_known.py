"""Built-ins, arguments and metrics that specs misspell or misplace: said before anything is built, and where."""

import re
import subprocess
from pathlib import Path

import pytest

from edgewright.errors import SpecError
from edgewright.source.commits import GitSource
from samples.repositories import DATASET, FILES, HEADER, MODEL, ROLLOUT, THRESHOLDS, make_repository


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
            "(known: mlp, small-cnn, small-detector; your own: code/file.py:name)",
        ),
        (
            "use: mlp, with: {hiden: [8]}",
            "7:35: spec.architecture.with.hiden: mlp takes no such argument (did you mean hidden?)",
        ),
        (
            "use: mlp, with: {hidden: [8, 0]}",
            "7:47: spec.architecture.with.hidden[1]: expected a number of at least 1, found the number 0",
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
            "8:52: spec.steps[0].with.values[0]: expected text, found a list",
        ),
    ],
)
def test_a_step_must_be_known(tmp_path: Path, step: str, expected: str) -> None:
    found = problems(tmp_path, {"specs/dataset.yaml": DATASET + f"  steps: [{{{step}}}]\n"})
    assert found == [f"specs/dataset.yaml:{expected}"]


def test_what_a_built_in_refuses_is_told_with_the_files_other_problems(tmp_path: Path) -> None:
    model = MODEL.replace("use: mlp", "use: mlp, with: {hidden: 8, activation: tanh}") + "  training: {epochs: 0}\n"
    dataset = DATASET + "  steps: [{use: clip, with: {colum: a}}, {use: cilp}, 7]\n  splitt: {}\n"

    found = problems(tmp_path, {"specs/model.yaml": model, "specs/dataset.yaml": dataset})

    assert sorted(found) == [
        "specs/dataset.yaml:8:29: spec.steps[0].with.column: clip needs this argument (add it)",
        "specs/dataset.yaml:8:30: spec.steps[0].with.colum: clip takes no such argument (did you mean column?)",
        "specs/dataset.yaml:8:48: spec.steps[1].use: there is no built-in step 'cilp' "
        "(did you mean clip?; your own: code/file.py:name)",
        "specs/dataset.yaml:8:55: spec.steps[2]: expected a mapping of fields, found the number 7",
        "specs/dataset.yaml:9:3: unknown field 'spec.splitt' (did you mean split?)",
        "specs/model.yaml:7:43: spec.architecture.with.hidden: expected a list, found the number 8",
        "specs/model.yaml:7:58: spec.architecture.with.activation: expected one of 'relu', 'silu', found text 'tanh'",
        "specs/model.yaml:9:22: spec.training.epochs: expected a number of at least 1, found the number 0",
    ]


@pytest.mark.parametrize(
    ("training", "limit"),
    [("epochs: 1000000", "100,000"), ("batchSize: 9999999", "1,000,000")],
)
def test_what_no_training_has_is_refused(tmp_path: Path, training: str, limit: str) -> None:
    model = MODEL + f"  training: {{{training}}}\n"
    (found,) = problems(tmp_path, {"specs/model.yaml": model})
    assert f"expected a number of at most {limit}, found" in found


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("acuracy", "there is no metric 'acuracy' (did you mean accuracy?)"),
        (
            "mae",
            "mae is not measured for model 'reader', whose task is tabular-classification, so this gate can never pass "
            "(use one of accuracy, f1Macro, precisionMacro, recallMacro, loss, rocAuc, averagePrecision, brier, "
            "calibrationError, top3Accuracy, top5Accuracy)",
        ),
    ],
)
def test_a_gates_metric_must_be_measured(tmp_path: Path, metric: str, expected: str) -> None:
    found = problems(tmp_path, {"specs/thresholds.yaml": THRESHOLDS.replace("accuracy", metric)})
    assert found == [f"specs/thresholds.yaml:6:16: spec.gates[0].metric: {expected}"]


def test_options_of_a_label_format_must_be_known(tmp_path: Path) -> None:
    source = "source: {uri: data, format: voc, with: {coordinates: one, clip: 1}}"
    dataset = DATASET.replace(re.findall("source: .*", DATASET)[0], source)
    found = problems(tmp_path, {"specs/dataset.yaml": dataset})
    assert [each.partition("spec.source.with.")[2] for each in found] == [
        "coordinates: expected one of 'one-based', 'zero-based', found text 'one'",
        "clip: format voc takes no such argument "
        "(known: coordinates, images, layout, orientation, outside, turned, withoutArea)",
    ]


def test_early_stopping_watches_a_metric_of_the_task(tmp_path: Path) -> None:
    model = MODEL + "  training: {earlyStopping: {metric: rmse}}\n"
    assert problems(tmp_path, {"specs/model.yaml": model}) == [
        "specs/model.yaml:9:38: spec.training.earlyStopping.metric: rmse does not fit tabular-classification "
        "(use one of loss, accuracy, f1Macro)"
    ]


@pytest.mark.parametrize(
    ("task", "use", "expected"),
    [
        ("object-detection", "small-cnn", "small-cnn does not fit object-detection (use small-detector, or"),
        ("tabular-classification", "small-detector", "small-detector does not fit tabular-classification (use small-"),
    ],
)
def test_an_architecture_must_fit_the_task(tmp_path: Path, task: str, use: str, expected: str) -> None:
    model = MODEL.replace("tabular-classification", task).replace("use: mlp", f"use: {use}")
    found = problems(tmp_path, {"specs/model.yaml": model})
    assert [each for each in found if f"spec.architecture.use: {expected}" in each]


def test_a_window_must_open_at_some_time(tmp_path: Path) -> None:
    rollout = ROLLOUT + '  window: {cron: "0 0 30 2 *", duration: 1h}\n'
    assert problems(tmp_path, {"specs/rollout.yaml": rollout}) == [
        "specs/rollout.yaml:7:18: spec.window.cron: no date fits '0 0 30 2 *', so this window never opens "
        "(its fields are minute, hour, day of month, month and day of week)"
    ]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("kinds: [Rolout]", "6:53: spec.notifications[0].kinds[0]: there is no kind 'Rolout' (did you mean Rollout?)"),
        (
            "reasons: [Drifted, StepFaild]",
            "6:64: spec.notifications[0].reasons[1]: there is no reason 'StepFaild' (did you mean StepFailed?)",
        ),
        (
            "reasons: [Xyz]",
            "6:55: spec.notifications[0].reasons[0]: there is no reason 'Xyz' (docs/reference/status.md lists them)",
        ),
    ],
)
def test_a_notifications_kinds_and_reasons_must_exist(tmp_path: Path, chosen: str, expected: str) -> None:
    known = chosen.replace("Rolout", "rollout, REPOSITORY").replace("Faild", "Failed").replace("Xyz", "SpecInvalid")
    document = (
        HEADER
        + """kind: Repository
metadata: {name: shop}
spec:
  notifications:
  - {name: chat, slack: {url: {secret: x}}, %s}
"""
    )
    assert problems(tmp_path / "wrong", {"edgewright.yaml": document % chosen}) == [f"edgewright.yaml:{expected}"]
    GitSource(make_repository(tmp_path / "known", {**FILES, "edgewright.yaml": document % known})).snapshot()


FOLLOWING = (
    HEADER
    + """kind: Repository
metadata: {name: shop}
spec:
  environments:
  - {name: live, follow: {%s}}
"""
)


@pytest.mark.parametrize(
    "name",
    ["-evil", "a b", "a..b", "a~1", "a^", "a:b", "a?", "a*", "a[", r"a\b", "a.lock", "a.lock/b", "a/", "/a", ".a", "@"],
)
def test_what_is_followed_must_be_a_name_that_git_allows(tmp_path: Path, name: str) -> None:
    refused = ["git", "check-ref-format", "--branch", name] if name[0] == "-" else ["git", "check-ref-format", name]
    assert name == "@" or subprocess.run(refused, capture_output=True, check=False).returncode != 0
    for kind in ("branch", "tag"):
        found = problems(tmp_path / kind, {"edgewright.yaml": FOLLOWING % f"{kind}: '{name}'"})
        assert found == [
            f"edgewright.yaml:6:{29 + len(kind)}: spec.environments[0].follow.{kind}: {name!r} is no name that Git "
            f"allows for a {kind} (see git check-ref-format)"
        ]


def test_a_range_of_versions_must_be_one(tmp_path: Path) -> None:
    assert problems(tmp_path / "wrong", {"edgewright.yaml": FOLLOWING % "semver: 'nonsense >='"}) == [
        "edgewright.yaml:6:35: spec.environments[0].follow.semver: 'nonsense >=' is no range of versions "
        '(write it as in ">=1.4.0 <2.0.0", "^1.2" or "~1.4.2")'
    ]
    for index, follow in enumerate(
        ("semver: '>=1.4.0 <2.0.0'", "semver: '*'", "branch: a/b-c.d@e", "tag: v1.0.0-rc.1")
    ):
        GitSource(make_repository(tmp_path / str(index), {**FILES, "edgewright.yaml": FOLLOWING % follow})).snapshot()


@pytest.mark.parametrize("address", ["notanaddress", "a b@example.com", "a@b@c", "A <a@example.com>", "a@b,c@d"])
def test_mail_goes_to_and_comes_from_addresses(tmp_path: Path, address: str) -> None:
    document = (
        HEADER
        + f"""kind: Repository
metadata: {{name: shop}}
spec:
  notifications:
  - name: mail
    email: {{host: mail.example.com, sender: "{address}", recipients: [a@example.com, "{address}"]}}
"""
    )
    expected = f"expected one mail address, like on-call@example.com, found text {address!r}"
    assert problems(tmp_path, {"edgewright.yaml": document}) == [
        f"edgewright.yaml:7:45: spec.notifications[0].email.sender: {expected}",
        f"edgewright.yaml:7:{77 + len(address)}: spec.notifications[0].email.recipients[1]: {expected}",
    ]
