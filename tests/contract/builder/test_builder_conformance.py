"""What every builder does, whatever runs the steps."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgewright.core.artifact import Action
from edgewright.errors import Cancelled, StepFailed
from edgewright.pipeline.executors.local import ProcessBuilder
from edgewright.ports import Builder, BuildTask, Progress
from fakes.builder import FakeBuilder
from harness.steps import dataset_task

GOOD = "    for n in range(50): yield {'x': n, 'label': 'ab'[n % 2]}\n"
FAILING = "    raise ValueError('no')\n"
ENDLESS = "    yield {'x': 1, 'label': 'a'}\n    time.sleep(600)\n"


@dataclass
class Site:
    builder: Builder
    task: Callable[[str], BuildTask]
    """A task that goes ``good``, ``failing`` or ``endless``."""


@pytest.fixture(params=["process", "fake"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    fake = FakeBuilder()

    def task(kind: str) -> BuildTask:
        body = {"good": GOOD, "failing": FAILING, "endless": ENDLESS}[kind]
        checkout = tmp_path / "checkout"
        checkout.mkdir(exist_ok=True)
        (checkout / "frames.py").write_text(f"import time\ndef generate():\n{body}")
        spec: dict[str, Any] = {
            "source": {"uri": "frames.py:generate", "format": "python"},
            "columns": {"x": {"type": "number"}, "label": {"type": "category"}},
        }
        work = (Action.BUILD_DATASET, "goods")
        if kind == "failing":
            fake.failures[work] = StepFailed("no")
        else:
            fake.failures.pop(work, None)
        if kind == "endless":
            fake.held.add(work)
        return dataset_task(checkout, spec, tmp_path / "work")

    builder: Builder = fake if request.param == "fake" else ProcessBuilder(threads=1, grace_seconds=1)
    return Site(builder, task)


def ignore(moment: Progress) -> None:
    """Take progress and do nothing with it."""


def test_what_is_built_is_there_below_the_work_folder(site: Site) -> None:
    task = site.task("good")
    built = site.builder.build(task, ignore, threading.Event())
    assert built.digest.startswith("sha256:") and len(built.digest) == 71
    assert set(built.files) == {"train.parquet", "validation.parquet", "test.parquet", "schema.json"}
    assert all(path.is_file() and path.is_relative_to(task.workdir / "out") for path in built.files.values())
    assert json.loads(json.dumps(dict(built.facts))) == built.facts
    assert {"rows", "columns", "features", "label", "slices", "inputShape", "contentDigest"} <= set(built.facts)


def test_building_again_comes_to_the_same(site: Site) -> None:
    first = site.builder.build(site.task("good"), ignore, threading.Event())
    again = site.builder.build(site.task("good"), ignore, threading.Event())
    assert (again.digest, again.facts) == (first.digest, first.facts)


def test_progress_names_its_step_and_never_goes_back(site: Site) -> None:
    moments: list[Progress] = []
    task = site.task("good")
    site.builder.build(task, moments.append, threading.Event())
    assert {(m.address, m.action) for m in moments} == {(task.address, task.action)}
    done = [m.done for m in moments]
    assert done == sorted(done)
    assert all(m.total == 0 or m.done <= m.total for m in moments)


def test_a_step_that_cannot_succeed_raises_and_may_be_repaired(site: Site) -> None:
    with pytest.raises(StepFailed, match="no"):
        site.builder.build(site.task("failing"), ignore, threading.Event())
    assert site.builder.build(site.task("good"), ignore, threading.Event()).digest


def test_cancelled_before_it_starts(site: Site) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        site.builder.build(site.task("good"), ignore, cancel)


def test_cancelled_while_it_runs(site: Site) -> None:
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        site.builder.build(site.task("endless"), lambda moment: cancel.set(), cancel)
