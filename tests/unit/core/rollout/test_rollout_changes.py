"""Rollouts, one rule at a time: new keys, fleets that change, and the stored state."""

from dataclasses import replace
from datetime import timedelta

from edgewright.core.rollout.machine import advance
from edgewright.core.rollout.state import Phase, RolloutState, summarize
from harness.rollout_fleet import CANARY, STATE, FakeFleet, bring, goal, phase, release, rollout_spec, twelve, verified
from harness.rollout_fleet import RELEASE_A as A
from harness.rollout_fleet import RELEASE_B as B
from harness.rollout_fleet import RELEASE_C as C

# ── new keys, changing fleets ─────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_with_the_same_release_assigns_nothing_again() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    fleet.run(goal(rollout_spec(waves=[CANARY, {"percent": 100, "soak": "1m"}]), A, key="other"), 10)
    assert (fleet.state.phase, fleet.state.key, fleet.log) == (Phase.SUCCEEDED, "other", [])


def test_a_reverted_release_assigns_only_those_that_left_it() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    spec = rollout_spec(waves=[CANARY, {"percent": 100}], approval={"beforeWave": 2})
    fleet.run(goal(spec, B), 10)
    assert fleet.devices["d00"].active == "B"
    fleet.log.clear()
    fleet.run(goal(rollout_spec(), A, key="back"), 10)
    assert phase(fleet) is Phase.SUCCEEDED
    assert fleet.log == [("d00", "A")]


def test_a_newer_release_supersedes_one_in_flight_within_the_budget() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    spec = rollout_spec(maxUnavailable={"count": 2})
    for device in fleet.devices.values():
        device.hangs.add("B")
    fleet.run(goal(spec, B), 3)
    assert {what for _, what in fleet.log} == {"B"}
    assert len(fleet.log) == 2
    newer = goal(spec, C)
    fleet.report()
    fleet.decide(newer)
    assert len(fleet.log) == 4
    assert {device for device, what in fleet.log if what == "C"} == {
        device for device, what in fleet.log if what == "B"
    }
    fleet.run(newer, 40)
    assert set(fleet.active().values()) == {"C"}


def test_devices_return_to_what_each_of_them_verified_last() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    spec = rollout_spec(waves=[CANARY, {"percent": 100}], approval={"beforeWave": 2})
    fleet.run(goal(spec, B), 10)
    fleet.devices["d00"].refuses["C"] = "ProbeMismatch"
    fleet.run(goal(rollout_spec(), C), 20)
    assert phase(fleet) is Phase.FAILED
    assert fleet.active() == {name: "B" if name == "d00" else "A" for name in fleet.devices}
    assert fleet.devices["d00"].wanted == B


def test_what_a_device_verifies_of_a_superseded_release_is_what_it_returns_to() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    fleet.report()
    fleet.decide(goal(rollout_spec(), B))
    cautious = goal(rollout_spec(waves=[CANARY, {"percent": 100}], approval={"beforeWave": 2}), C)
    fleet.run(cautious, 10)
    assert fleet.states() == {name: "verified" if name == "d00" else "pending" for name in fleet.devices}
    assert fleet.state.devices["d01"].verified == B
    assert fleet.devices["d00"].wanted == C


def test_being_assigned_a_release_is_not_having_verified_it() -> None:
    fleet = twelve()
    fleet.devices["d05"].online = False
    fleet.run(goal(rollout_spec(), A), 20)
    assert fleet.devices["d05"].wanted == A
    fleet.run(goal(rollout_spec(waves=[CANARY, {"percent": 100}], approval={"beforeWave": 2}), B), 10)
    fleet.run(goal(rollout_spec(), A, key="back"), 20)
    assert phase(fleet) is Phase.SUCCEEDED
    assert fleet.states()["d05"] == "deferred"


def test_a_device_assigned_again_and_silent_since_is_not_taken_for_verified() -> None:
    fleet = bring(FakeFleet({"a": {"ring": "canary"}, "b": {}}), goal(rollout_spec(), A))
    fleet.report()
    fleet.decide(goal(rollout_spec(), B))
    for _ in range(4):
        fleet.devices["b"].work()
    fleet.devices["b"].online = False
    assert fleet.devices["b"].active == "B"
    fleet.decide(goal(rollout_spec(), A, key="back"))
    fleet.now += timedelta(hours=1)
    fleet.run(goal(rollout_spec(waves=[CANARY, {"percent": 100}], approval={"beforeWave": 2}), C), 10)
    fleet.run(goal(rollout_spec(), A, key="back again"), 10)
    assert fleet.states() == {"a": "verified", "b": "deferred"}


def test_a_new_spec_tries_failed_devices_again() -> None:
    fleet = twelve()
    fleet.devices["d01"].refuses["A"] = "NoSpace"
    fleet.run(goal(rollout_spec(onFailure="pause"), A), 10)
    fleet.devices["d01"].refuses.clear()
    fleet.run(goal(rollout_spec(), A, key="again"), 10)
    assert phase(fleet) is Phase.SUCCEEDED
    assert fleet.log.count(("d01", "A")) == 2


def test_devices_that_join_go_through_the_waves_and_those_that_leave_are_dropped() -> None:
    spec = rollout_spec(waves=[CANARY, {"percent": 100}], maxUnavailable={"count": 1})
    wanted = goal(spec, A)
    fleet = bring(twelve(), wanted)
    more = FakeFleet({"e1": {"ring": "canary"}, "e2": {"ring": "wide"}})
    fleet.devices |= more.devices
    del fleet.devices["d05"]
    later = replace(wanted, fleet_digest="fleet-2")
    fleet.report()
    fleet.decide(later)
    assert fleet.log == [("e1", "A")]
    assert phase(fleet) is Phase.ROLLING
    fleet.run(later, 20)
    assert phase(fleet) is Phase.SUCCEEDED
    assert fleet.log == [("e1", "A"), ("e2", "A")]
    assert "d05" not in fleet.state.devices


def test_changed_labels_render_the_configuration_again_within_the_budget() -> None:
    configured = release("A", config="config")
    wanted = goal(rollout_spec(maxUnavailable={"count": 1}), configured)
    fleet = bring(twelve(), wanted)
    for name in ("d03", "d04"):
        fleet.devices[name].labels["store"] = "9"
    later = replace(wanted, fleet_digest="fleet-2")
    fleet.report()
    fleet.decide(later)
    assert len(fleet.log) == 1
    fleet.run(later, 20)
    assert phase(fleet) is Phase.SUCCEEDED
    assert sorted(fleet.log) == [("d03", "A"), ("d04", "A")]
    plain = bring(twelve(), goal(rollout_spec(), B))
    plain.devices["d03"].labels["store"] = "9"
    plain.run(replace(goal(rollout_spec(), B), fleet_digest="fleet-2"), 5)
    assert plain.log == []


def test_a_device_that_verified_nothing_returns_to_what_its_fleet_has_proven() -> None:
    fleet = twelve()
    fleet.devices["d05"].online = False
    fleet.run(goal(rollout_spec(), A), 20)
    fleet.devices["d05"].online = True
    fleet.devices["d01"].refuses["B"] = "ProbeMismatch"
    fleet.run(goal(rollout_spec(), B), 30)
    assert phase(fleet) is Phase.FAILED
    assert set(fleet.active().values()) == {"A"}


def test_a_device_that_joins_a_wave_that_has_passed_goes_with_the_current_one() -> None:
    fleet = twelve()
    wanted = goal(rollout_spec(waves=[CANARY, {"percent": 100}], maxUnavailable={"count": 1}), A)
    fleet.run(wanted, 10)
    assert fleet.state.wave == 1
    fleet.devices |= FakeFleet({"e1": {"ring": "canary"}}).devices
    later = replace(wanted, fleet_digest="fleet-2")
    fleet.step(later)
    assert fleet.state.devices["e1"].wave == 1
    fleet.run(later, 60)
    assert (phase(fleet), verified(fleet)) == (Phase.SUCCEEDED, 13)


def test_what_was_proven_while_a_device_was_away_stays_assigned_to_it() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    fleet.devices["d05"].online = False
    fleet.now += timedelta(hours=1)
    fleet.run(goal(rollout_spec(), B), 20)
    assert fleet.devices["d05"].wanted == B
    fleet.devices["d01"].refuses["C"] = "ProbeMismatch"
    fleet.run(goal(rollout_spec(), C), 20)
    assert phase(fleet) is Phase.FAILED
    assert fleet.devices["d05"].wanted == B


# ── the state ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_state_is_written_read_and_counted() -> None:
    assert STATE.validate_json(STATE.dump_json(RolloutState())) == RolloutState()
    fleet = twelve()
    fleet.devices["d03"].online = False
    fleet.run(goal(rollout_spec(), A), 20)
    assert summarize(fleet.state).counts == {"verified": 11, "deferred": 1}


def test_nothing_changes_without_a_reason() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    again = advance(fleet.state, goal(rollout_spec(), A), fleet.views(), fleet.now + timedelta(days=3))
    assert again.state is fleet.state
    assert (again.assign, again.events, again.wake_at) == ((), (), None)
