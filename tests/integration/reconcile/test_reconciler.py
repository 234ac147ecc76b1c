"""Runs from start to end, with fakes for every port: what is done, what is left alone, what survives."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.planning.plan import step_id
from edgewright.errors import (
    DeliveryUnavailable,
    StepFailed,
    StorageFull,
)
from edgewright.ports import Progress
from edgewright.reconcile import build_pool as working
from edgewright.reconcile import reconciler as reconciling
from edgewright.reconcile.run import RunOptions
from edgewright_wire.canonical import digest_bytes
from harness.memory_run import FILES, World, model, rollout

EVERYTHING = ["build-dataset tags", "train reader", "export reader", "evaluate reader", "package reader"]
TWO = {**FILES, **model("counter", epochs=9, thresholds=False), **rollout("counter")}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of these tests are short; what is waited for comes at once."""
    monkeypatch.setattr(reconciling, "_TICK_SECONDS", 0.02)
    monkeypatch.setattr(working, "_wait", lambda cancel, seconds: None)


def test_a_run_converges_and_a_second_one_does_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = world.run()
    assert first.converged
    assert world.work() == EVERYTHING
    assert world.state.open_intents() == []
    release = {slot for slots in world.running().values() for slot in slots.values()}
    assert len(release) == 1
    assert world.running().keys() == {"lane-1", "lane-2"}
    assert world.reasons("rollout/reader")[-1] == "RolloutSucceeded"
    assert world.state.last_revision() == world.source.revision()
    assert Address("model", "reader") in world.state.managed()

    version, calls = world.state.version(), list(world.devices.calls)
    again = world.run()
    assert again.converged
    assert world.work() == []
    assert world.devices.calls == calls
    assert world.state.version() == version, "nothing is written where nothing has changed"


def test_the_champion_is_recorded_with_the_rollouts_success(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.devices.hush("lane-1", "lane-2")
    world.run(until=world.clock() + timedelta(seconds=0.3))
    assert world.state.champions() == {}
    world.devices.online = {"lane-1", "lane-2"}
    assert world.run().converged
    champion = world.state.champions()["reader"]
    assert champion.package in world.devices.packages
    train = next(f for f, a in world.state.artifacts().items() if a.action is Action.TRAIN)
    assert champion.train_fingerprint == train


def test_a_step_that_fails_stands_in_nobody_elses_way_and_is_remembered(tmp_path: Path) -> None:
    world = World(tmp_path, TWO)
    world.builder.failures[Action.TRAIN, "reader"] = StepFailed("the loss is no number in epoch 2", hint="lower it")
    outcome = world.run()
    assert [(f.step, f.error.message) for f in outcome.failures] == [
        ("train model/reader", "the loss is no number in epoch 2")
    ]
    assert [(note.reason, str(note.address)) for note in outcome.blocked] == [("StepFailed", "model/reader")]
    assert {model for slots in world.running().values() for model in slots} == {"counter"}
    assert world.state.champions().keys() == {"counter"}
    assert world.state.open_intents() == []

    world.work()
    again = world.run()
    assert world.work() == []
    assert not again.failures
    assert again.blocked

    world.builder.failures.clear()
    retried = world.run(retry_failures=True)
    assert retried.converged
    assert world.work() == ["train reader", "export reader", "evaluate reader", "package reader"]
    assert world.run().converged


def test_a_failed_retry_ends_the_run_and_is_remembered_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.builder.failures[Action.TRAIN, "reader"] = StepFailed("no")
    world.run()
    world.work()
    outcome = world.run(retry_failures=True)
    assert world.work() == ["train reader"]
    assert len(outcome.failures) == 1
    assert world.run().blocked


def test_what_may_pass_is_tried_again_and_then_given_up_for_this_run(tmp_path: Path) -> None:
    world = World(tmp_path, TWO)
    world.builder.failures[Action.TRAIN, "reader"] = StorageFull("no space left")
    outcome = world.run()
    assert world.work().count("train reader") == 4
    said = [line for line in world.log.lines if line.startswith("failed train model/reader")]
    assert [line.partition(",")[2].partition(":")[0].strip() for line in said] == ["again"] * 3 + ["given up"]
    assert [f.step for f in outcome.failures] == ["train model/reader"]
    assert world.state.failures() == {}, "what may pass is not remembered as a failure"
    assert {model for slots in world.running().values() for model in slots} == {"counter"}
    world.builder.failures.clear()
    assert world.run().converged


def test_a_new_revision_cancels_training_nobody_needs_any_more(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.builder.held.add((Action.TRAIN, "reader"))
    fingerprints: list[str] = []

    def commit(progress: Progress) -> None:
        if progress.action is not Action.TRAIN:
            return
        if fingerprints:  # the next training has begun, and is not held up
            world.builder.held.clear()
            return
        fingerprints.append(world.builder.tasks[-1].fingerprint)
        world.source.commit(model("reader", epochs=5))

    world.log.on_progress = commit
    outcome = world.run(follow=True)
    assert outcome.converged
    trained = [task for task in world.builder.tasks if task.action is Action.TRAIN]
    assert [task.spec["training"]["epochs"] for task in trained] == [3, 5]
    assert fingerprints[0] not in world.state.artifacts()
    assert "StepCancelled" in world.reasons("model/reader")
    assert world.state.last_revision() == world.source.revision()


def test_a_new_revision_that_leaves_a_training_as_it_is_does_not_disturb_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    seen: list[str] = []

    def commit(progress: Progress) -> None:
        if progress.action is Action.TRAIN and not seen:
            seen.append(world.source.commit({"specs/extra.yaml": model("other")["specs/model-other.yaml"]}))

    world.log.on_progress = commit
    assert world.run(follow=True).converged
    assert world.work().count("train reader") == 1


def test_a_new_revision_may_try_what_failed_in_the_one_before(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.builder.failures[Action.TRAIN, "reader"] = StepFailed("no")
    held = (Action.EXPORT, "counter")
    world.builder.held.add(held)
    world.source.commit({**model("counter", thresholds=False)})

    def fix(progress: Progress) -> None:
        if (progress.action, progress.address.name) == held and held in world.builder.held:
            world.builder.held.clear()
            world.builder.failures.clear()
            world.source.commit(model("reader", epochs=5))

    world.source.commit(model("counter", epochs=7, thresholds=False))
    world.log.on_progress = fix
    outcome = world.run(follow=True)
    assert not outcome.failures
    assert outcome.converged


def test_without_leave_to_follow_a_newer_revision_ends_the_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    newer: list[str] = []

    def commit(progress: Progress) -> None:
        if progress.action is Action.TRAIN and not newer:
            newer.append(world.source.commit(model("reader", epochs=5)))

    world.log.on_progress = commit
    outcome = world.run()
    assert outcome.superseded_by == newer[0]
    assert not outcome.converged
    assert world.running() == {}


def test_a_run_that_is_stopped_can_be_resumed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.builder.held.add((Action.TRAIN, "reader"))
    run = world.reconciler()

    def stop() -> None:
        world.builder.started.wait()
        workdir = world.builder.workdirs[-1]
        workdir.mkdir(parents=True)
        (workdir / "checkpoint.pt").write_bytes(b"epoch 2")
        run.stop()

    threading.Thread(target=stop).start()
    outcome = run.run(RunOptions())
    run.lease.release()
    assert outcome.stopped
    assert not outcome.failures
    assert world.state.failures() == {}
    assert world.state.open_intents() == []
    world.builder.held.clear()
    world.work()
    found: list[bytes] = []

    def look(progress: Progress) -> None:
        if progress.action is Action.TRAIN and not found:
            found.append((world.builder.workdirs[-1] / "checkpoint.pt").read_bytes())

    world.log.on_progress = look
    assert world.run().converged
    assert found == [b"epoch 2"]
    assert world.work()[0] == "train reader"


def test_only_steps_of_the_approved_plan_are_run(tmp_path: Path) -> None:
    world = World(tmp_path, TWO)
    found = world.plan()
    counter = frozenset(s for s in map(step_id, found.steps) if not s.endswith("reader"))
    outcome = world.run(allowed=counter)
    assert not outcome.failures
    assert "train reader" not in world.work()
    assert {model for slots in world.running().values() for model in slots} == {"counter"}
    assert not outcome.plan.empty


def test_a_report_does_not_start_a_rollout_that_was_not_approved(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    before = world.running()
    world.source.commit(model("reader", epochs=5))
    found = world.plan()
    allowed = frozenset(s for s in map(step_id, found.steps) if not s.startswith("start-rollout"))
    world.devices._said.clear()  # every device speaks again
    outcome = world.run(allowed=allowed)
    assert world.running() == before
    assert [step_id(step) for step in outcome.plan.steps] == ["start-rollout rollout/reader"]


def test_a_step_that_was_not_approved_does_not_drop_what_is_to_be_pruned(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    world.source.commit({"specs/rollout-reader.yaml": None})
    world.run(allowed=frozenset())
    assert Address("rollout", "reader") in world.state.managed()
    outcome = world.run()
    assert outcome.converged
    assert Address("rollout", "reader") not in world.state.managed()
    assert world.reasons("rollout/reader")[-1] == "Pruned"
    assert world.running().keys() == {"lane-1", "lane-2"}, "devices keep what they run"


def test_a_damaged_input_is_made_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    world.work()
    data = next(a for a in world.state.artifacts().values() if a.action is Action.BUILD_DATASET)
    world.blobs.contents[data.files["train.parquet"].digest] += b"rot"
    world.source.commit(model("reader", epochs=5))
    outcome = world.run()
    assert outcome.converged
    work = world.work()
    assert "build-dataset tags" in work
    assert work[-1] == "package reader"
    repaired = world.state.artifacts()[data.fingerprint]
    assert (
        digest_bytes(world.blobs.read(repaired.files["train.parquet"].digest)) == repaired.files["train.parquet"].digest
    )


def test_a_damaged_package_is_made_again_before_it_is_published(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.devices.fail_with = DeliveryUnavailable("the share is not mounted")
    outcome = world.run()
    assert [f.step for f in outcome.failures] == ["refresh", "publish model/reader"]
    assert world.running() == {}
    package = next(a for a in world.state.artifacts().values() if a.action is Action.PACKAGE)
    world.blobs.contents[package.files["model.onnx"].digest] += b"rot"
    world.devices.fail_with = None
    assert world.run().converged
    assert world.devices.blobs[package.files["model.onnx"].digest]
