"""A device whose labels match two fleets concerns that device: it keeps what it has, and all others go on."""

from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.fleet.conflicts import find_conflicts
from edgewright.core.fleet.routes import find_routes
from edgewright.core.rollout.state import Phase, RolloutState
from edgewright.core.status.conditions import conditions_of
from edgewright.errors import SpecError
from harness.memory_run import FILES, HEAD, World, model, rollout

READER = Address("rollout", "reader")


def fleet(name: str, spec: str) -> dict[str, str]:
    return {f"specs/fleet-{name}.yaml": f"{HEAD}kind: Fleet\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"}


def on(name: str, fleet: str) -> dict[str, str]:
    files = rollout("reader")["specs/rollout-reader.yaml"]
    named = files.replace("name: reader", f"name: {name}").replace("fleet: lanes", f"fleet: {fleet}")
    return {f"specs/rollout-{name}.yaml": named}


NORTH = "selector: {matchLabels: {site: north}}"
COLD = "selector: {matchLabels: {cold: 'yes'}}"
TWO_FLEETS = {**FILES, **fleet("lanes", NORTH), **fleet("cold", COLD), **on("reader-cold", "cold")}
del TWO_FLEETS["specs/fleet.yaml"]


def states(world: World, name: str) -> dict[str, str]:
    found = world.state.rollout(Address("rollout", name)) or RolloutState()
    return {device: progress.state.value for device, progress in found.devices.items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, TWO_FLEETS)
    world.devices.online = {"lane-1", "lane-2", "lane-3", "lane-4"}
    site = {f"lane-{number}": {"site": "north"} for number in (1, 2)}
    world.state.enroll({**site, "lane-3": {"cold": "yes"}, "lane-4": {"cold": "yes"}})
    return world


def test_a_device_in_two_fleets_stops_nobody_else(world: World) -> None:
    world.state.enroll({"both": {"site": "north", "cold": "yes"}})
    world.devices.online.add("both")
    world.run()
    assert states(world, "reader") == {"lane-1": "verified", "lane-2": "verified", "both": "pending"}
    assert states(world, "reader-cold") == {"lane-3": "verified", "lane-4": "verified", "both": "pending"}
    assert "both" not in world.devices.assignments
    plan = world.plan()
    assert plan.empty
    notes = [note for note in plan.notes if note.reason == "Conflict"]
    assert [note.address.name for note in notes] == ["reader", "reader-cold"]
    said = "its labels put it into the fleets of rollout/reader and rollout/reader-cold, which both claim model/reader"
    assert notes[0].message == f"1 device is left as it is: both: {said}"
    summary = world.state.rollout_summaries()[READER]
    ready = conditions_of(READER, plan, summary, revision="r", now=world.clock())
    assert [(one.status, one.reason) for one in ready] == [("False", "Conflict")] * 2 + [("True", "Conflict")]
    assert world.reasons(str(READER)).count("Conflict") == 1
    world.state.enroll({"both": {"site": "north"}})
    world.run()
    assert states(world, "reader")["both"] == "verified"


def test_a_device_that_comes_into_conflict_keeps_what_it_has(world: World) -> None:
    world.run()
    before = dict(world.devices.assignments)
    world.state.enroll({"lane-2": {"site": "north", "cold": "yes"}})
    world.source.commit(model("reader", epochs=4))
    world.run()
    after = world.devices.assignments
    assert after["lane-2"] == before["lane-2"]
    assert all(after[other].version > before[other].version for other in ("lane-1", "lane-3", "lane-4"))
    assert {world.state.rollout_summaries()[Address("rollout", n)].phase for n in ("reader", "reader-cold")} == {
        Phase.SUCCEEDED
    }


def test_a_failure_that_a_device_in_conflict_reports_is_no_verdict(world: World) -> None:
    world.devices.refused = {"lane-2"}
    world.state.enroll({"lane-2": {"site": "north", "cold": "yes"}})
    world.run()
    world.source.commit(model("reader", epochs=4))
    world.run()
    assert world.state.rollout_summaries()[READER].phase is Phase.SUCCEEDED


def test_what_the_repository_alone_causes_is_a_spec_error(world: World) -> None:
    world.source.commit(
        {
            **fleet("lanes", f"{NORTH}, inventory: [{{id: x, labels: {{site: north}}}}]"),
            **fleet("cold", "inventory: [{id: x}]"),
        }
    )
    world.state.enroll({"y": {"site": "north", "cold": "yes"}})
    with pytest.raises(SpecError, match="both claim model/reader on device x"):
        world.run()


def test_fleets_that_reach_an_enrolled_device_in_different_ways_do_not_stop_the_rest(tmp_path: Path) -> None:
    installed = "delivery: {type: mender}"
    files = {**TWO_FLEETS, **fleet("cold", f"{COLD}, {installed}"), **on("reader-cold", "cold"), **model("other")}
    files["specs/rollout-reader-cold.yaml"] = (
        f"{HEAD}kind: Rollout\nmetadata: {{name: reader-cold}}\nspec: {{model: other, fleet: cold}}\n"
    )
    world = World(tmp_path, files)
    world.devices.online = {"lane-1", "lane-3", "both"}
    world.state.enroll({"lane-1": {"site": "north"}, "lane-3": {"cold": "yes"}})
    world.state.enroll({"both": {"site": "north", "cold": "yes"}})
    world.run()
    assert states(world, "reader") == {"lane-1": "verified", "both": "pending"}
    assert states(world, "reader-cold")["both"] == "pending"
    desired = world.source.snapshot()
    conflict = find_conflicts(desired, world.state.enrolled())["both"]
    assert conflict.message == "its labels put it into fleet/cold and fleet/lanes, which reach it in different ways"
    assert conflict.rollouts == {"reader", "reader-cold"}


def test_the_repository_decides_the_way_to_a_device_and_not_its_own_labels(tmp_path: Path) -> None:
    files = {
        **TWO_FLEETS,
        **fleet("cold", f"{COLD}, delivery: {{type: mender}}"),
        **fleet("lanes", f"{NORTH}, inventory: [{{id: lane-1, labels: {{site: north}}}}]"),
    }
    world = World(tmp_path, files)
    routes = find_routes(world.source.snapshot(), {"lane-1": {"cold": "yes"}, "lane-3": {"cold": "yes"}})
    assert {device: route.fleet for device, route in routes.items()} == {"lane-1": "lanes", "lane-3": "cold"}


CONFIGURED = {
    **FILES,
    "templates/lane.toml.j2": "site = '{{ device.labels.site }}'\n",
    **fleet(
        "lanes", "selector: {matchLabels: {ring: all}}, config: {template: templates/lane.toml.j2, path: lane.toml}"
    ),
}
del CONFIGURED["specs/fleet.yaml"]


def test_a_device_without_a_label_that_its_configuration_needs_stops_nobody_else(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIGURED)
    world.devices.online = {"lane-1", "lane-2", "lane-3", "bare"}
    world.state.enroll({f"lane-{n}": {"ring": "all", "site": "a"} for n in (1, 2, 3)})
    world.state.enroll({"bare": {"ring": "all"}})
    world.run()
    found = world.state.rollout(READER)
    assert found is not None
    assert found.phase is Phase.SUCCEEDED
    assert {d: p.state.value for d, p in found.devices.items()} == {
        **dict.fromkeys(("lane-1", "lane-2", "lane-3"), "verified"),
        "bare": "pending",
    }
    assert (found.held["bare"].reason, "site" in found.held["bare"].message) == ("ConfigFailed", True)
    events = world.reasons(str(READER))
    world.run()
    assert world.reasons(str(READER)) == events
    world.state.enroll({"bare": {"ring": "all", "site": "b"}})
    world.run()
    assert states(world, "reader")["bare"] == "verified"


def test_a_template_that_fails_for_every_device_stops_the_rollout_until_labels_change(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIGURED)
    world.devices.online = {"bare"}
    world.state.enroll({"bare": {"ring": "all"}})
    world.run()
    assert "RolloutStuck" in world.reasons(str(READER))
    world.state.enroll({"bare": {"ring": "all", "site": "b"}})
    world.run()
    assert states(world, "reader")["bare"] == "verified"
