"""Rollouts, one rule at a time: failing, returning, and what devices claim."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from edgewright.core.rollout.machine import abort, advance, resume, view_device
from edgewright.core.rollout.state import Phase
from edgewright_wire.messages import ModelReport, ProbeResult, Report
from edgewright_wire.messages import Phase as DevicePhase
from harness.rollout_fleet import CANARY, START, FakeFleet, bring, goal, phase, rollout_spec, twelve
from harness.rollout_fleet import RELEASE_A as A
from harness.rollout_fleet import RELEASE_B as B
from harness.rollout_fleet import RELEASE_C as C

# ── failing and returning ─────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_wave_returns_its_devices_and_rejects_the_release_for_good() -> None:
    fleet = bring(twelve(), goal(rollout_spec(waves=[CANARY, {"percent": 100}]), A))
    bad = goal(rollout_spec(waves=[CANARY, {"percent": 50}, {"percent": 100}], maxUnavailable={"count": 3}), B)
    for name in ("d03", "d04", "d05", "d06", "d07", "d08"):
        fleet.devices[name].refuses["B"] = "ProbeMismatch"
    fleet.run(bad, 40)
    assert phase(fleet) is Phase.FAILED
    assert set(fleet.active().values()) == {"A"}
    (rejection,) = fleet.state.rejected
    assert (rejection.key, rejection.release, rejection.package) == ("B", "B", "package-B")
    assert rejection.device in {"d03", "d04", "d05", "d06", "d07", "d08"}
    assert "ProbeMismatch" in fleet.state.message
    assert fleet.states()["d00"] == "rolledBack"
    fleet.log.clear()
    fleet.run(bad, 30)
    assert fleet.log == []
    bring(fleet, goal(rollout_spec(), C))
    fleet.run(bad, 10)
    assert fleet.log == []
    assert fleet.reasons.count("ReleaseRejected") == 1
    assert set(fleet.active().values()) == {"C"}


def test_the_halt_comes_as_soon_as_the_ratio_is_out_of_reach() -> None:
    fleet = twelve()
    fleet.devices["d01"].refuses["A"] = "ProbeMismatch"
    fleet.devices["d02"].hangs.add("A")
    fleet.run(goal(rollout_spec(), A), 5)
    assert fleet.state.phase in {Phase.RETURNING, Phase.FAILED}


def test_failures_within_the_ratio_do_not_halt_and_are_sent_back_in_the_end() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    fleet.devices["d01"].refuses["B"] = "ProbeMismatch"
    second = goal(rollout_spec(success={"minRatio": 0.9}), B)
    fleet.run(second, 20)
    assert phase(fleet) is Phase.SUCCEEDED
    assert fleet.states()["d01"] == "rolledBack"
    assert fleet.devices["d01"].wanted == A


def test_a_device_without_a_verified_release_is_left_without_the_model() -> None:
    fleet = twelve()
    fleet.devices["d01"].refuses["A"] = "ProbeMismatch"
    fleet.run(goal(rollout_spec(), A), 20)
    assert phase(fleet) is Phase.FAILED
    assert set(fleet.active().values()) == {None}
    assert "d00 runs no release, as before" in " ".join(fleet.said)
    assert "last verified release" not in " ".join(fleet.said), "none of them has one"


def test_an_offline_device_that_got_a_rejected_release_is_given_its_last_one() -> None:
    fleet = twelve()
    fleet.devices["d02"].labels["ring"] = "canary"
    bring(fleet, goal(rollout_spec(), A))
    bad = goal(rollout_spec(waves=[CANARY, {"percent": 100}], approval={"beforeWave": 2}), B)
    fleet.report()
    fleet.decide(bad)
    fleet.devices["d02"].online = False
    fleet.run(bad, 20)
    assert (phase(fleet), fleet.states()["d02"]) == (Phase.AWAITING_APPROVAL, "deferred")
    assert fleet.devices["d02"].wanted == B
    fleet.devices["d00"].lose()
    fleet.run(bad, 10)
    assert phase(fleet) is Phase.FAILED
    assert fleet.devices["d02"].wanted == A
    fleet.devices["d02"].online = True
    fleet.run(bad, 5)
    assert (fleet.states()["d02"], fleet.devices["d02"].active) == ("rolledBack", "A")


def test_a_hanging_device_fails_at_its_deadline() -> None:
    fleet = twelve()
    fleet.devices["d01"].hangs.add("A")
    wanted = goal(rollout_spec(success={"deadline": "30m"}), A)
    fleet.run(wanted, 29)
    assert fleet.states()["d01"] == "fetching"
    fleet.run(wanted, 1)
    assert fleet.state.rejected[0].reason == "DevicesFailed"
    assert "DeadlineExceeded" in fleet.state.message


def test_incompatible_devices_count_neither_way_unless_there_is_nobody_else() -> None:
    fleet = twelve()
    fleet.devices["d01"].refuses["A"] = "Incompatible"
    bring(fleet, goal(rollout_spec(), A))
    assert fleet.states()["d01"] == "ineligible"
    alone = FakeFleet(["a"])
    alone.devices["a"].refuses["A"] = "Incompatible"
    alone.run(goal(rollout_spec(), A), 10)
    assert (alone.state.phase, alone.state.reason) == (Phase.FAILED, "NoEligibleDevice")


def test_on_failure_pause_waits_for_a_person_who_may_go_on_or_abort() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    fleet.devices["d01"].refuses["B"] = "ProbeMismatch"
    wanted = goal(rollout_spec(onFailure="pause"), B)
    fleet.run(wanted, 20)
    assert (fleet.state.phase, fleet.state.reason) == (Phase.PAUSED, "DevicesFailed")
    paused = fleet.state
    fleet.state = resume(paused)
    fleet.run(wanted, 10)
    assert phase(fleet) is Phase.SUCCEEDED
    fleet.state = abort(paused)
    fleet.run(wanted, 10)
    assert phase(fleet) is Phase.ABORTED
    assert set(fleet.active().values()) == {"A"}


def test_a_device_that_cannot_even_return_is_named_and_blocks_nothing() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    fleet.devices["d01"].refuses |= {"A": "DigestMismatch", "B": "ProbeMismatch"}
    fleet.devices["d01"].active = None
    fleet.run(goal(rollout_spec(), B), 20)
    assert phase(fleet) is Phase.FAILED
    progress = fleet.state.devices["d01"]
    assert (progress.state, progress.reason) == ("failed", "ReturnFailed")
    assert "DigestMismatch" in progress.message


def test_devices_that_go_offline_in_their_turn_cannot_carry_a_wave_over_its_ratio() -> None:
    fleet = FakeFleet(["a", "b", "c"])
    fleet.devices["b"].refuses["A"] = "ProbeMismatch"
    wanted = goal(rollout_spec(maxUnavailable={"count": 1}, success={"minRatio": 0.6}), A)
    fleet.report()
    fleet.decide(wanted)
    while fleet.states()["b"] != "probing":
        fleet.step(wanted)
    fleet.devices["c"].online = False
    fleet.now += timedelta(minutes=20)
    fleet.work()
    fleet.decide(wanted)
    assert fleet.states()["c"] == "deferred"
    assert fleet.state.rejected[0].reason == "DevicesFailed"


def test_a_halted_rollout_has_failed_only_when_its_devices_are_back() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    fleet.devices["d01"].refuses["B"] = "ProbeMismatch"
    wanted = goal(rollout_spec(), B)
    fleet.report()
    fleet.decide(wanted)
    seen = []
    while phase(fleet) is not Phase.FAILED:
        fleet.step(wanted)
        seen.append(phase(fleet))
        back = set(fleet.active().values()) == {"A"} and "returning" not in fleet.states().values()
        assert (phase(fleet) is Phase.FAILED) == (back and bool(fleet.state.rejected))
    assert Phase.RETURNING in seen


# ── claims and facts ──────────────────────────────────────────────────────────────────────────────────────────


def test_only_a_report_about_the_new_assignment_counts() -> None:
    fleet = bring(twelve(), goal(rollout_spec(), A))
    wanted = goal(rollout_spec(), B)
    fleet.report()
    fleet.decide(wanted)
    for device in fleet.devices.values():
        assert device.view is not None
        lie = {"phase": DevicePhase.VERIFIED, "release": "B", "active_release": "B", "verified": True}
        device.view = replace(device.view, **lie)  # type: ignore[arg-type]  # one mapping for several fields
    fleet.decide(wanted)
    assert set(fleet.states().values()) == {"offered"}


@pytest.mark.parametrize("lack", [{"active_release": "A"}, {"verified": False}, {"release": "A"}])
def test_verified_means_active_and_proven(lack: dict[str, Any]) -> None:
    fleet = FakeFleet(["a"])
    wanted = goal(rollout_spec(), B)
    fleet.run(wanted, 1)
    device = fleet.devices["a"]
    full = {"taken": 1, "phase": DevicePhase.VERIFIED, "release": "B", "active_release": "B", "verified": True}
    assert device.view is not None
    views = {"a": replace(device.seen(), **{**full, **lack})}
    assert advance(fleet.state, wanted, views, fleet.now).state.devices["a"].state != "verified"
    views = {"a": replace(device.seen(), **full)}  # type: ignore[arg-type]  # one mapping for several fields
    assert advance(fleet.state, wanted, views, fleet.now).state.devices["a"].state == "verified"


def test_a_report_is_read_into_a_view() -> None:
    digest = f"sha256:{'1' * 64}"
    probe = ProbeResult(passed=True, samples=4, atol=0.1, latency_p95_ms=7.5, runtime="onnxruntime")
    said = ModelReport(
        model="reader",
        phase=DevicePhase.VERIFIED,
        release="B",
        active=digest,
        active_release="B",
        verified=digest,
        probe=probe,
    )
    report = Report(device="a", sequence=3, sent_at=START, agent_version="1", assignment_version=5, models=(said,))
    view = view_device("reader", {"class": "camera"}, report=report, last_seen=START, assignment=6)
    assert (view.taken, view.assignment, view.verified, view.latency_p95_ms) == (5, 6, True, 7.5)
    assert view.device_class == "camera"
    other = view_device("other", {}, report=report, last_seen=START, assignment=6)
    assert (other.phase, other.taken, other.active_release) == (None, 5, None)
    never = view_device("reader", {}, report=None, last_seen=None, assignment=0)
    assert never.last_seen is None
