"""Many steps that are ready at once: signed for together, taken up without waiting for plans, and failing alone."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.core.artifact import Action, Artifact
from edgewright.core.planning.plan import BuildDataset, Plan, Step, Train
from edgewright.errors import DeliveryUnavailable, EdgewrightError
from edgewright.ports import PackageContent, Progress
from edgewright.reconcile import publisher as publishing
from edgewright.reconcile import reconciler as reconciling
from edgewright.reconcile.run import RunOptions, RunResult
from harness.memory_run import FILES, Devices, Log, World, model, rollout

NAMES = ["a", "b", "c", "d"]
MANY = dict(FILES)
for _number, _name in enumerate(NAMES):
    MANY |= {**model(_name, epochs=10 + _number, thresholds=False), **rollout(_name)}
PACKAGES = len(NAMES) + 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "_TICK_SECONDS", 0.02)


class Signing(Devices):
    """Remembers how many packages each attempt to sign was for."""

    def publish(self, packages: Sequence[PackageContent]) -> Mapping[str, EdgewrightError]:
        self.signings.append(len(packages))
        return super().publish(packages)

    signings: list[int]


@pytest.fixture
def packaged(tmp_path: Path) -> World:
    """Everything is built, and nothing could be published yet."""
    world = World(tmp_path, MANY)
    world.devices = devices = Signing(world.clock)
    devices.signings = []
    devices.fail_with = DeliveryUnavailable("the share is not mounted")
    outcome = world.run()
    assert _failures(outcome) == [*_publishes("reader", *NAMES), "refresh"]
    devices.fail_with = None
    devices.signings.clear()
    return world


def _publishes(*models: str) -> list[str]:
    return [f"publish model/{name}" for name in sorted(models)]


def _signings(world: World) -> list[int]:
    assert isinstance(world.devices, Signing)
    return world.devices.signings


def _package(world: World, name: str) -> Artifact:
    found = world.state.artifacts().values()
    return next(a for a in found if a.action is Action.PACKAGE and a.address.name == name)


def _failures(outcome: RunResult) -> list[str]:
    return sorted(failure.step for failure in outcome.failures)


def test_packages_that_are_ready_together_are_signed_for_once(packaged: World) -> None:
    packaged.log.lines.clear()
    assert packaged.run().converged
    assert _signings(packaged) == [PACKAGES]
    for step in _publishes("reader", *NAMES):
        assert packaged.log.lines.count(f"started {step}") == packaged.log.lines.count(f"done {step}") == 1
    for name in NAMES:
        assert "Published" in packaged.reasons(f"model/{name}")
    assert packaged.state.open_intents() == []


@pytest.mark.parametrize("limit", ["AT_ONCE", "BYTES_AT_ONCE"])
def test_a_signing_is_for_no_more_than_so_many(packaged: World, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    size = max(sum(file.size for file in _package(packaged, name).files.values()) for name in ("reader", *NAMES))
    monkeypatch.setattr(publishing, limit, 2 if limit == "AT_ONCE" else 2 * size)
    assert packaged.run().converged
    assert _signings(packaged) == [2, 2, 1]


def test_a_package_that_cannot_go_out_keeps_no_other_back(packaged: World) -> None:
    corrupt, lacking = _package(packaged, "a"), _package(packaged, "b")
    packaged.blobs.contents[corrupt.files["model.onnx"].digest] += b"rot"
    rest = {name: file for name, file in lacking.files.items() if name != publishing.MANIFEST}
    packaged.state.memory.store.tables.artifacts[lacking.fingerprint] = replace(lacking, files=rest)
    packaged.log.lines.clear()
    packaged.work()

    outcome = packaged.run(drift=False)
    assert _failures(outcome) == _publishes("b")
    assert "has no manifest.json" in outcome.failures[0].error.message
    models = {slot for slots in packaged.running().values() for slot in slots}
    assert models == {"reader", *NAMES} - {"b"}
    assert packaged.work()[-1] == "package a", "what was corrupt is made again"
    assert [line for line in packaged.log.lines if line.startswith("failed publish model/a, again")]
    assert "done publish model/b" not in packaged.log.lines


def test_after_a_signing_that_failed_whole_the_rest_is_not_attempted(
    packaged: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "AT_ONCE", 2)
    packaged.devices.fail_with = DeliveryUnavailable("it is gone again")
    assert _failures(packaged.run()) == [*_publishes("reader", *NAMES), "refresh"]
    assert _signings(packaged) == [2]
    packaged.devices.fail_with = None
    assert packaged.run().converged


def test_a_free_worker_takes_the_next_step_while_a_plan_is_made(tmp_path: Path) -> None:
    world = World(tmp_path, MANY)
    trained = threading.Event()
    waits: list[bool] = []

    class Slow(Log):
        """Plans take until everything is trained."""

        def planned(self, plan: Plan) -> None:
            if any(action is Action.TRAIN for action, _ in world.builder.work):
                waits.append(trained.wait(20))

        def done(self, step: Step, seconds: float) -> None:
            super().done(step, seconds)
            if isinstance(step, Train) and sum(line.startswith("done train") for line in self.lines) == PACKAGES:
                trained.set()

    world.log = Slow()
    assert world.run(jobs=1, until=world.clock() + timedelta(seconds=60)).converged
    assert waits
    assert all(waits)
    assert sum(work.startswith("train") for work in world.work()) == PACKAGES, "none twice"


def test_no_further_step_is_taken_up_once_a_person_has_stopped_the_run(tmp_path: Path) -> None:
    world = World(tmp_path, MANY)
    reconciler = world.reconciler()

    def stop(progress: Progress) -> None:
        if progress.action is Action.TRAIN:
            reconciler.stop()

    world.log.on_progress = stop
    outcome = reconciler.run(RunOptions(jobs=1))
    reconciler.lease.release()
    assert outcome.stopped
    assert sum(work.startswith("train") for work in world.work()) == 1
    world.log.on_progress = lambda progress: None
    assert world.run().converged


def test_a_step_starts_once_it_has_been_told_that_its_inputs_are_done(tmp_path: Path) -> None:
    world = World(tmp_path)
    training = threading.Event()

    class Slow(Log):
        """Tells late that a dataset is done; what is made of it could have started by then."""

        def started(self, step: Step) -> None:
            super().started(step)
            if isinstance(step, Train):
                training.set()

        def done(self, step: Step, seconds: float) -> None:
            if isinstance(step, BuildDataset):
                training.wait(0.5)
            super().done(step, seconds)

    world.log = Slow()
    assert world.run(jobs=4).converged
    lines = [line for line in world.log.lines if "dataset/tags" in line or "train" in line]
    assert lines[:3] == [
        "started build-dataset dataset/tags",
        "done build-dataset dataset/tags",
        "started train model/reader",
    ]
