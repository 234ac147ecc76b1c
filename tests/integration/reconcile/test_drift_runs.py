"""Runs that find drift, with fakes for every port: what is repaired, what is only told, what is left alone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgewright.core.address import Address
from edgewright.core.config_drift import RepositoryFault
from edgewright.core.planning.plan import Plan, action_of
from edgewright.core.planning.planner import plan
from edgewright.core.rollout.state import DeviceState
from edgewright.errors import DeliveryUnavailable
from edgewright.reconcile import reconciler as reconciling
from edgewright.reconcile import repairs as repairing
from edgewright_wire.messages import Phase, Report
from harness.memory_run import FILES, World, model, rollout

ROLLOUT = Address("rollout", "reader")
REPORT_ONLY = {
    "edgewright.yaml": "apiVersion: edgewright.dev/v1alpha1\nkind: Repository\nmetadata: {name: shop}\n"
    "spec: {paths: [specs], reconciliation: {selfHeal: false}}\n"
}


class Clock:
    """Moves on when it is told to, and a little with every look, so that runs end."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "_TICK_SECONDS", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, clock=Clock())
    assert made.run().converged
    return made


def _look(world: World) -> Plan:
    desired = world.source.snapshot()
    return plan(desired, world._observer().observe(desired, deep=True), world.clock())


def _lose(world: World, device: str = "lane-1", **said: Any) -> None:
    """Have a device say that it runs something else under the assignment it has."""
    before = world.devices.reports[device]
    told = {"active": None, "active_release": None, "verified": None, "phase": Phase.FAILED, "reason": "DiskFailed"}
    models = (before.models[0].model_copy(update={**told, **said}),)
    sequence = before.sequence + 1000
    world.devices.report(before.model_copy(update={"models": models, "sequence": sequence, "sent_at": world.clock()}))


def _actions(found: Plan) -> list[str]:
    return [action_of(step).value for step in found.steps]


def _state(world: World, device: str) -> DeviceState:
    state = world.state.rollout(ROLLOUT)
    assert state is not None
    return state.devices[device].state


def test_a_device_that_lost_its_model_is_assigned_it_again_and_proves_it(world: World) -> None:
    versions = {device: a.version for device, a in world.devices.assignments.items()}
    before = world.running()
    _lose(world)
    assert _actions(_look(world)) == ["repair"]
    world.devices._sequence += 2000
    assert world.run().converged
    assert world.running() == before
    assert world.devices.assignments["lane-1"].version == versions["lane-1"] + 1
    assert world.devices.assignments["lane-2"].version == versions["lane-2"]
    assert _state(world, "lane-1") is DeviceState.VERIFIED
    assert world.reasons("rollout/reader")[-2:] == ["ConfigDrifted", "Repaired"]
    drifted = next(e for e in world.state.events(address="rollout/reader") if e.reason == "ConfigDrifted")
    assert (drifted.data["device"], drifted.data["found"]) == ("lane-1", None)
    assert _look(world).empty


def test_a_run_waits_for_the_device_it_repaired(world: World) -> None:
    _lose(world)
    world.devices.hush("lane-1")
    outcome = world.run(until=world.clock() + timedelta(seconds=0.5))
    assert outcome.timed_out
    assert _actions(outcome.plan) == ["repair"]
    assert _state(world, "lane-1") is DeviceState.OFFERED
    version = world.devices.assignments["lane-1"].version
    world.run(until=world.clock() + timedelta(seconds=0.5))
    assert world.devices.assignments["lane-1"].version == version, "it was assigned once"


def test_a_device_whose_repair_failed_is_left_alone_for_a_while(world: World) -> None:
    world.devices.refused = {"lane-1"}
    _lose(world)
    world.devices._sequence += 2000
    world.run()
    assert _state(world, "lane-1") is DeviceState.FAILED
    version = world.devices.assignments["lane-1"].version
    world.run()
    assert world.devices.assignments["lane-1"].version == version
    (note,) = world.plan().notes
    assert (note.reason, str(note.address)) == ("ConfigDrifted", "rollout/reader")
    assert isinstance(world.clock, Clock)
    world.clock.now += timedelta(hours=1, minutes=1)
    world.devices.refused = set()
    assert world.run().converged
    assert _state(world, "lane-1") is DeviceState.VERIFIED


def test_a_suspended_rollout_is_not_repaired(world: World) -> None:
    held = rollout("reader")["specs/rollout-reader.yaml"].replace("waves:", "suspend: true, waves:")
    world.source.commit({"specs/rollout-reader.yaml": held})
    _lose(world)
    found = _look(world)
    assert found.steps == ()
    assert "suspend: true" in found.notes[0].message


def test_published_files_are_mended_and_written_down(world: World) -> None:
    package = next(iter(world.devices.packages))
    config = next(m.config for m in world.devices.assignments["lane-2"].models if m.config)
    for flaw in (
        RepositoryFault("package", package, "blobs/sha256/aa", package, "other"),
        RepositoryFault("assignment", "lane-1", "targets/assignments/bb", "x", None),
        RepositoryFault("configuration", config.digest, "blobs/sha256/cc", config.digest, None),
    ):
        world.devices.damage(flaw)
    assert _actions(_look(world)) == ["repair", "repair"]
    assert world.plan().empty, "bytes are read by deep looks alone"
    assert world.run().converged
    assert world.devices.flaws == {}
    assert world.reasons("model/reader")[-1] == "Repaired"
    assert world.reasons("rollout/reader")[-2:] == ["Repaired", "Repaired"]
    assert world.state.open_intents() == []


def test_a_repair_that_cannot_be_made_now_is_made_by_the_next_run(world: World) -> None:
    package = next(iter(world.devices.packages))
    world.devices.damage(RepositoryFault("package", package, "blobs/sha256/aa", package, "other"))
    world.devices.fail_with = DeliveryUnavailable("the share is gone")
    assert [f.step for f in world.run().failures] == ["refresh", "repair model/reader"]
    world.devices.fail_with = None
    assert world.run().converged
    assert world.devices.flaws == {}


def test_a_corrupt_blob_is_rebuilt_and_a_lost_one_too(world: World) -> None:
    world.work()
    artifact = next(a for a in world.state.artifacts().values() if a.action == "export")
    digest = next(iter(artifact.files.values())).digest
    world.blobs.contents[digest] = b"rot"
    assert world.plan().empty
    found = _look(world)
    assert "export" in _actions(found)
    assert "repair" not in _actions(found)
    assert world.run().converged
    assert "export reader" in world.work()
    assert world.blobs.intact(digest)
    del world.blobs.contents[digest]
    assert "export" in _actions(world.plan())


def test_without_self_heal_drift_is_told_once_and_nothing_is_touched(tmp_path: Path) -> None:
    world = World(tmp_path, {**FILES, **REPORT_ONLY}, clock=Clock())
    assert world.run().converged, "what was never made is made"
    world.work()
    package = next(iter(world.devices.packages))
    artifact = next(a for a in world.state.artifacts().values() if a.action == "train")
    del world.blobs.contents[next(iter(artifact.files.values())).digest]
    world.devices.damage(RepositoryFault("package", package, "blobs/sha256/aa", package, None))
    _lose(world)
    before, running = world.devices.calls[:], world.running()
    outcome = world.run()
    assert outcome.plan.steps == ()
    assert {(n.reason, n.severity) for n in outcome.plan.notes} == {("ConfigDrifted", "warning")}
    assert {str(n.address) for n in outcome.plan.notes} == {"model/reader", "rollout/reader"}
    assert world.work() == []
    assert (world.devices.calls, world.running()) == (before, running)
    told = [e.reason for e in world.state.events(limit=1000)].count("ConfigDrifted")
    assert told
    world.run()
    assert world.work() == []


def test_what_depends_on_a_lost_artifact_waits_for_a_person_without_self_heal(tmp_path: Path) -> None:
    world = World(tmp_path, {**FILES, **REPORT_ONLY}, clock=Clock())
    world.run()
    world.work()
    artifact = next(a for a in world.state.artifacts().values() if a.action == "build-dataset")
    del world.blobs.contents[next(iter(artifact.files.values())).digest]
    world.source.commit(model("reader", epochs=7))
    outcome = world.run()
    assert world.work() == []
    assert "ConfigDrifted" in {note.reason for note in outcome.plan.notes}


def test_many_devices_are_repaired_a_part_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairing, "AT_ONCE", 1)
    _lose(world, "lane-1")
    _lose(world, "lane-2")
    world.devices._sequence += 2000
    assert world.run().converged
    assert {_state(world, device) for device in ("lane-1", "lane-2")} == {DeviceState.VERIFIED}


def test_metadata_that_does_not_hold_is_told_and_hides_the_rest(world: World) -> None:
    world.devices.damage(
        RepositoryFault("metadata", "snapshot", "metadata/4.snapshot.json", "signed metadata", "something else")
    )
    found = _look(world)
    assert found.steps == ()
    (note,) = found.notes
    assert (note.severity, note.address.kind) == ("warning", "repository")
    assert "restore the newest copy" in note.message


def test_a_report_from_before_counts_as_on_its_way(world: World) -> None:
    older: Report = world.devices.reports["lane-1"]
    _lose(world)
    lost = world.devices.reports["lane-1"]
    world.devices.report(lost.model_copy(update={"assignment_version": 0, "sequence": older.sequence + 3000}))
    found = _look(world)
    assert found.steps == ()
    assert found.notes[0].severity == "info"
