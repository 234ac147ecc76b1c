"""Runs after lost leases, crashes, lost files and refused releases."""

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.planning.plan import step_id
from edgewright.core.rollout.state import Phase
from edgewright.errors import (
    LeaseLost,
    StepFailed,
)
from edgewright.ports import Progress
from edgewright.reconcile import build_pool as working
from edgewright.reconcile import reconciler as reconciling
from edgewright.reconcile.run import RunOptions
from fakes.state import InMemoryState
from harness.memory_run import FILES, World, model, rollout

TWO = {**FILES, **model("counter", epochs=9, thresholds=False), **rollout("counter")}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of these tests are short; what is waited for comes at once."""
    monkeypatch.setattr(reconciling, "_TICK_SECONDS", 0.02)
    monkeypatch.setattr(working, "_wait", lambda cancel, seconds: None)


def test_after_the_lease_is_lost_nothing_more_is_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    taken: list[object] = []

    def take_over(progress: Progress) -> None:
        if progress.action is Action.TRAIN and not taken:
            world.state.memory.fence += 1
            taken.append(world.state.memory.tables)

    world.log.on_progress = take_over
    with pytest.raises(LeaseLost):
        world.run()
    assert world.state.memory.tables == taken[0]
    assert world.running() == {}


def test_a_step_that_fails_after_the_lease_is_lost_ends_the_run_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.builder.failures[Action.TRAIN, "reader"] = StepFailed("no")
    world.log.on_progress = lambda progress: setattr(
        world.state.memory, "fence", world.state.memory.fence + (progress.action is Action.TRAIN)
    )
    with pytest.raises(LeaseLost):
        world.run()


def test_a_lease_lost_while_nothing_is_written_is_noticed(tmp_path: Path) -> None:
    moments = iter(range(10_000))
    world = World(
        tmp_path, clock=lambda: datetime.fromisoformat("2026-03-02T09:00:00+00:00") + timedelta(next(moments))
    )
    world.builder.held.add((Action.TRAIN, "reader"))

    def take_over() -> None:
        world.builder.started.wait()
        world.state.memory.fence += 1

    threading.Thread(target=take_over).start()
    with pytest.raises(LeaseLost):
        world.reconciler().run(RunOptions())


def test_assignments_that_were_decided_but_not_published_go_out_after_a_crash(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    assigned = world.state.assignments()
    # A crash between the decision and its publishing: the store knows more than the devices can fetch.
    unpublished = {device: entry.assignment for device, entry in assigned.items()}
    world.devices.assignments.clear()
    world.state.memory.tables.assignments = {
        device: type(entry)(entry.assignment, published=False) for device, entry in assigned.items()
    }
    assert world.run().converged
    assert world.devices.assignments == unpublished
    assert all(entry.published for entry in world.state.assignments().values())


def test_a_new_configuration_moves_no_model_bytes_and_trains_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    world.work()
    packages = dict(world.devices.packages)
    before = world.devices.assignments["lane-1"].models[0]
    world.source.commit({"templates/lane.toml.j2": "lane = '{{ device.id }}'\n"})
    assert world.run().converged
    assert world.work() == []
    assert world.devices.packages == packages
    after = world.devices.assignments["lane-1"].models[0]
    assert after.package == before.package
    assert before.config is not None and after.config is not None
    assert after.config.digest != before.config.digest
    assert world.devices.blobs[after.config.digest] == b"lane = 'lane-1'\n"


def test_a_configuration_that_cannot_be_rendered_stops_its_rollout_alone(tmp_path: Path) -> None:
    fleet = FILES["specs/fleet.yaml"].replace("name: lanes", "name: bare").partition(", config")[0] + "}\n"
    apart = {
        "specs/fleet-bare.yaml": fleet.replace("fleets/lanes.csv", "[{id: lane-2}]"),
        "specs/rollout-counter.yaml": rollout("counter")["specs/rollout-counter.yaml"].replace("lanes", "bare"),
    }
    world = World(tmp_path, {**TWO, **apart, "templates/lane.toml.j2": "\nsite = {{ device.labels.site }}\n"})
    outcome = world.run()
    (failure,) = outcome.failures
    assert failure.step == "rollout/reader"
    assert failure.error.message.startswith("templates/lane.toml.j2:2:")
    assert world.running() == {"lane-2": world.running()["lane-2"]}
    assert world.running()["lane-2"].keys() == {"counter"}
    world.source.commit({"templates/lane.toml.j2": "site = {{ device.labels.store }}\n"})
    world.work()
    assert world.run().converged
    assert world.work() == []


def test_a_lost_configuration_is_kept_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.devices.hush("lane-2")
    world.run(until=world.clock() + timedelta(seconds=1))
    frame = next(a for a in world.state.artifacts().values() if a.action is Action.RENDER_CONFIG)
    del world.blobs.contents[frame.files["config.json"].digest]
    world.devices.online.add("lane-2")
    assert world.run().converged
    assert world.running()["lane-2"]


def test_a_failed_gate_never_reaches_a_device(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    before = world.running()
    world.builder.metrics["reader"] = {"accuracy": 0.9}
    world.source.commit(model("reader", epochs=5))
    outcome = world.run()
    (note,) = outcome.blocked
    assert note.reason == "GateFailed"
    assert "0.9" in note.message
    assert world.running() == before
    assert len(world.devices.packages) == 1
    assert not any(a.action is Action.PACKAGE and a.created_at is None for a in world.state.artifacts().values())


def test_a_refused_release_goes_back_and_is_not_tried_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    proven = world.running()
    champion = world.state.champions()["reader"]
    world.source.commit(model("reader", epochs=5))
    world.devices.refused = {"lane-1", "lane-2"}
    world.run(until=world.clock() + timedelta(seconds=1))
    world.devices.refused = set()
    world.devices._said.clear()
    outcome = world.run()
    assert [note.reason for note in outcome.blocked] == ["ReleaseRejected"]
    state = world.state.rollout(Address("rollout", "reader"))
    assert state is not None
    assert state.phase is Phase.FAILED
    assert world.running() == proven
    assert world.state.champions()["reader"] == champion
    calls = list(world.devices.calls)
    world.run()
    assert world.devices.calls == calls


def test_a_device_that_joins_the_inventory_gets_what_the_others_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    world.work()
    versions = {device: a.version for device, a in world.devices.assignments.items()}
    world.devices.online.add("lane-3")
    world.source.commit({"fleets/lanes.csv": FILES["fleets/lanes.csv"] + "lane-3,b\n"})
    assert world.run().converged
    assert world.work() == []
    assert world.running()["lane-3"] == world.running()["lane-1"]
    assert {device: world.devices.assignments[device].version for device in versions} == versions


def test_two_models_made_of_the_same_are_trained_once(tmp_path: Path) -> None:
    files = {**FILES, **model("counter", thresholds=False), **rollout("counter")}
    world = World(tmp_path, files)
    assert world.run().converged
    work = world.work()
    assert [w for w in work if w.startswith("train")] == ["train counter"]
    assert {"package counter", "package reader"} <= set(work)
    assert all(slots.keys() == {"counter", "reader"} for slots in world.running().values())


def test_labels_that_change_nothing_on_the_device_are_confirmed_by_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    before = world.devices.assignments["lane-2"]
    world.source.commit({"fleets/lanes.csv": "id,store\nlane-1,a\nlane-2,moved\n"})
    assert world.run().converged
    after = world.devices.assignments["lane-2"]
    assert after.models == before.models
    assert after.version == before.version + 1


def test_what_was_approved_is_applied_and_no_commit_after_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    approved = world.plan()
    newer = world.source.commit(model("reader", epochs=5))
    allowed = frozenset(map(step_id, approved.steps))
    outcome = world.run(allowed=allowed, revision=approved.commit)
    assert outcome.superseded_by == newer
    assert world.work() == []
    assert world.running() == {}


def test_after_the_state_store_is_lost_versions_go_on_where_they_were(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    world.source.commit(model("reader", epochs=5))
    world.run()
    published = {device: a.version for device, a in world.devices.assignments.items()}
    world.state = InMemoryState(leased=False)
    assert world.run().converged
    again = {device: a.version for device, a in world.devices.assignments.items()}
    assert all(again[device] > published[device] for device in published)


def test_an_older_copy_of_the_state_store_does_not_stop_delivery(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    for device, assignment in world.devices.assignments.items():
        world.devices.assignments[device] = assignment.model_copy(update={"version": 7})
    world.source.commit(model("reader", epochs=5))
    assert world.run().converged
    assert {a.version for a in world.devices.assignments.values()} == {8}


def test_a_suspended_rollout_is_not_started_by_a_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    before = world.running()
    suspended = rollout("reader")["specs/rollout-reader.yaml"].replace("waves:", "suspend: true, waves:")
    world.source.commit({"specs/rollout-reader.yaml": suspended, "templates/lane.toml.j2": "id = 'other'\n"})
    outcome = world.run()
    assert [note.reason for note in outcome.waiting] == ["Suspended"]
    assert world.running() == before
    assert world.reasons("rollout/reader")[-1] == "RolloutSucceeded"


def test_a_rollout_that_cannot_be_configured_is_remembered(tmp_path: Path) -> None:
    world = World(tmp_path, {**FILES, "templates/lane.toml.j2": "site = {{ device.labels.site }}\n"})
    world.run()
    assert world.reasons("rollout/reader") == ["RolloutStuck", "StepFailed"]
    (note,) = world.plan().notes
    assert (note.severity, note.reason) == ("blocked", "StepFailed")
    assert "templates/lane.toml.j2:1" in note.message
