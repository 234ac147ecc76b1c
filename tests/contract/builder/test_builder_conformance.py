"""What every builder does, whatever runs the steps."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.facts import DatasetFacts
from edgewright.errors import Cancelled, StepFailed
from edgewright.pipeline.executors.local import LocalExecutor
from edgewright.pipeline.executors.staging import Staging, StagingBuilder
from edgewright.ports import Builder, BuildTask, Built, Cancel, Progress, TaskCheckout
from fakes.blobs import InMemoryBlobs
from fakes.builder import FakeBuilder
from fakes.repository import FolderFiles

GOOD = "    for n in range(50): yield {'x': n, 'label': 'ab'[n % 2]}\n"
FAILING = "    raise ValueError('no')\n"
ENDLESS = "    yield {'x': 1, 'label': 'a'}\n    time.sleep(600)\n"


@dataclass
class Site:
    builder: Builder
    task: Callable[[str], BuildTask]
    """A task that goes ``good``, ``failing`` or ``endless``."""
    workdir: Path

    def build(self, kind: str, progress: Callable[[Progress], None], cancel: Cancel) -> Built[Any]:
        return self.builder.build(self.task(kind), self.workdir, progress, cancel)


@pytest.fixture(params=["process", "fake"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    fake = FakeBuilder()

    def task(kind: str) -> BuildTask:
        body = {"good": GOOD, "failing": FAILING, "endless": ENDLESS}[kind]
        checkout = tmp_path / "repository"
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
        return BuildTask(
            action=Action.BUILD_DATASET,
            address=Address("dataset", "goods"),
            fingerprint="sha256:" + "1" * 64,
            spec=spec,
            checkout=TaskCheckout("head", ("frames.py",)),
        )

    staging = Staging(InMemoryBlobs(tmp_path / "blobs"), FolderFiles(tmp_path / "repository"))
    process = StagingBuilder(staging, LocalExecutor(threads=1, grace_seconds=1))
    return Site(fake if request.param == "fake" else process, task, tmp_path / "work")


def ignore(moment: Progress) -> None:
    """Take progress and do nothing with it."""


def test_what_is_built_is_there_below_the_work_folder(site: Site) -> None:
    built = site.build("good", ignore, threading.Event())
    assert built.digest.startswith("sha256:") and len(built.digest) == 71
    assert set(built.files) == {"train.parquet", "validation.parquet", "test.parquet", "schema.json"}
    assert all(path.is_file() and path.is_relative_to(site.workdir / "out") for path in built.files.values())
    assert DatasetFacts.from_json(json.loads(json.dumps(built.facts.to_json()))) == built.facts


def test_building_again_comes_to_the_same(site: Site) -> None:
    first = site.build("good", ignore, threading.Event())
    again = site.build("good", ignore, threading.Event())
    assert (again.digest, again.facts) == (first.digest, first.facts)


def test_progress_names_its_step_and_never_goes_back(site: Site) -> None:
    moments: list[Progress] = []
    task = site.task("good")
    site.builder.build(task, site.workdir, moments.append, threading.Event())
    assert {(m.address, m.action) for m in moments} == {(task.address, task.action)}
    done = [m.done for m in moments]
    assert done == sorted(done)
    assert all(m.total == 0 or m.done <= m.total for m in moments)


def test_a_step_that_cannot_succeed_raises_and_may_be_repaired(site: Site) -> None:
    with pytest.raises(StepFailed, match="no"):
        site.build("failing", ignore, threading.Event())
    assert site.build("good", ignore, threading.Event()).digest


def test_cancelled_before_it_starts(site: Site) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        site.build("good", ignore, cancel)


def test_cancelled_while_it_runs(site: Site) -> None:
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        site.build("endless", lambda moment: cancel.set(), cancel)
