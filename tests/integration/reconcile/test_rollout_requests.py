"""Decisions of people outlive inventory changes: a device that joins is no new rollout, and no request vanishes."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.rollout.controls import request, take_up
from edgewright.core.rollout.state import ControlAction, Controls, Phase, RolloutState
from edgewright.core.status.events import Event
from edgewright.errors import EdgewrightError
from harness.memory_run import FILES, HEAD, World, model

READER = Address("rollout", "reader")
ROWS = "id,store\nlane-1,a\nlane-2,b\n"
GATED = {
    "specs/rollout-reader.yaml": f"{HEAD}kind: Rollout\nmetadata: {{name: reader}}\nspec: {{model: reader, "
    "fleet: lanes, waves: [{percent: 50}, {percent: 100}], approval: {beforeWave: 1}}\n"
}
INLINE = {
    "specs/fleet.yaml": f"{HEAD}kind: Fleet\nmetadata: {{name: lanes}}\nspec: {{inventory: [{{id: lane-1}}, "
    "{id: lane-2}]}\n"
}
INLINE_MORE = {"specs/fleet.yaml": INLINE["specs/fleet.yaml"].replace("[", "[{id: lane-0}, ")}
BY_FILE: tuple[dict[str, str], dict[str, str]] = ({}, {"fleets/lanes.csv": f"{ROWS}lane-3,c\nlane-4,d\n"})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, {**FILES, **GATED})


def state(world: World) -> RolloutState:
    found = world.state.rollout(READER)
    assert found is not None
    return found


def ask(world: World, action: ControlAction, wave: int = 0) -> None:
    """Ask as ``edgewright rollout`` does."""
    pending = world.state.requested_controls().get(READER)
    world.state.request_controls(READER, request(state(world), pending, action, wave))


def dropped(world: World) -> list[str]:
    found: list[Event] = [e for e in world.state.events(address=str(READER)) if e.reason == "RequestDropped"]
    return [event.message for event in reversed(found)]


@pytest.mark.parametrize("change", [BY_FILE, (INLINE, INLINE_MORE)], ids=["file", "inline"])
def test_a_rollout_that_is_aborted_stays_so_when_the_inventory_grows(
    world: World, change: tuple[dict[str, str], dict[str, str]]
) -> None:
    world.source.commit(change[0])
    world.run()
    ask(world, ControlAction.ABORT)
    world.source.commit(change[1])
    world.run()
    assert state(world).phase is Phase.ABORTED
    assert [note.reason for note in world.plan().notes] == ["ReleaseRejected"]
    world.source.commit({**change[0], "fleets/lanes.csv": f"{ROWS}lane-9,z\n"})
    world.run()
    assert state(world).phase is Phase.ABORTED
    assert world.running() == {}


def test_a_pause_and_an_approval_stay_when_the_inventory_grows(world: World) -> None:
    world.run()
    ask(world, ControlAction.APPROVE, 1)
    ask(world, ControlAction.PAUSE)
    for more in ("lane-3,c\n", "lane-3,c\nlane-4,d\n"):
        world.source.commit({"fleets/lanes.csv": ROWS + more})
        world.run()
        assert (state(world).phase, state(world).reason) == (Phase.PAUSED, "Paused")
        assert world.running() == {}
    ask(world, ControlAction.RESUME)
    world.devices.online |= {"lane-3", "lane-4"}
    world.run()
    found = state(world)
    assert (found.phase, found.wave) == (Phase.AWAITING_APPROVAL, 1)
    assert sum(progress.state == "verified" for progress in found.devices.values()) == 2
    assert dropped(world) == []


def test_a_release_that_failed_is_not_tried_again_when_the_inventory_changes(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.devices.refused = {"lane-1", "lane-2"}
    world.run()
    assert state(world).phase is Phase.FAILED
    tried = dict(world.devices.assignments)
    world.devices.refused.clear()
    for rows in (f"{ROWS}lane-3,c\n", "id,store\nlane-1,a\n", "id,store\nlane-1,b\nlane-2,b\n"):
        world.source.commit({"fleets/lanes.csv": rows})
        world.run()
        assert state(world).phase is Phase.FAILED
    assert world.devices.assignments == tried


def test_a_pause_by_a_person_outlives_a_changed_spec_and_approvals_of_other_waves_do_not(world: World) -> None:
    world.run()
    ask(world, ControlAction.APPROVE, 2)
    ask(world, ControlAction.PAUSE)
    world.source.commit({"specs/rollout-reader.yaml": GATED["specs/rollout-reader.yaml"].replace("50", "10")})
    world.run()
    assert state(world).phase is Phase.PAUSED
    assert state(world).controls.approved_before == 0
    assert dropped(world) == ["approve of waves to 2 ends: the waves have changed"]


def test_an_abort_is_carried_out_though_a_new_release_waits_already(world: World) -> None:
    world.run()
    ask(world, ControlAction.APPROVE, 1)
    world.run()
    first = state(world).release
    assert world.running()
    ask(world, ControlAction.ABORT)
    world.source.commit(model("reader", epochs=4))
    world.run()
    after = state(world)
    assert after.release != first
    assert [(each.release, each.reason) for each in after.rejected] == [(first and first.fingerprint, "Aborted")]
    assert after.phase is Phase.AWAITING_APPROVAL


def test_what_a_new_release_makes_void_leaves_an_event(world: World) -> None:
    world.run()
    ask(world, ControlAction.PAUSE)
    ask(world, ControlAction.APPROVE, 2)
    world.source.commit(model("reader", epochs=4))
    world.run()
    assert state(world).phase is Phase.AWAITING_APPROVAL
    assert [message.partition(" package")[0] for message in dropped(world)] == [
        "pause ends with",
        "approve of waves to 2 ends with",
    ]


def test_requests_that_come_too_late_leave_an_event_and_do_nothing(world: World) -> None:
    world.run()
    ask(world, ControlAction.APPROVE, 2)
    late = request(state(world), None, ControlAction.PAUSE)
    world.run()
    assert state(world).phase is Phase.SUCCEEDED
    world.state.request_controls(READER, late)
    world.run()
    assert (state(world).phase, state(world).controls.paused) == (Phase.SUCCEEDED, False)
    world.state.request_controls(READER, Controls(paused=True))  # as an earlier version stores it
    world.run()
    assert state(world).controls.paused is False
    world.source.commit(dict.fromkeys(GATED))
    world.state.request_controls(READER, request(RolloutState(), None, ControlAction.ABORT))
    world.run()
    assert [message.partition(":")[0] for message in dropped(world)] == [
        "pause was requested, and is not carried out",
        "abort was requested, and is not carried out",
    ]
    assert world.state.requested_controls() == {}


def test_an_approval_does_not_undo_a_pause_that_came_after_it(world: World) -> None:
    world.run()
    ask(world, ControlAction.APPROVE, 1)
    asked = world.state.requested_controls()[READER]
    now = state(world)
    failed = replace(now, phase=Phase.PAUSED, reason="DevicesFailed", controls=replace(now.controls, paused=True))
    after, events = take_up(failed, asked)
    assert (after.phase, after.controls.paused, after.controls.approved_before) == (Phase.PAUSED, True, 1)
    assert not events
    again, _ = take_up(replace(after, controls=replace(after.controls, approved_before=0)), asked)
    assert again.controls.approved_before == 0, "no request is carried out twice"


def test_after_an_abort_was_requested_nothing_else_is(world: World) -> None:
    world.run()
    ask(world, ControlAction.ABORT)
    for action in (ControlAction.PAUSE, ControlAction.RESUME, ControlAction.APPROVE):
        with pytest.raises(EdgewrightError, match="an abort of the rollout was requested"):
            ask(world, action, 1)
    world.run()
    assert state(world).phase is Phase.ABORTED


def test_a_plan_tells_of_a_pause_that_ends_with_the_release_before(world: World) -> None:
    world.run()
    ask(world, ControlAction.PAUSE)
    world.run()
    assert [note.reason for note in world.plan().notes if note.severity == "warning"] == []
    world.source.commit({**GATED, **model("reader", epochs=7)})
    (note,) = [note for note in world.plan().notes if note.severity == "warning"]
    assert (note.address, note.reason) == (READER, "Paused")
    assert note.message.startswith("the pause was made for package ")
