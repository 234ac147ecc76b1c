"""Rollouts, one rule at a time: waves, budgets, offline devices, halting, returning, people, and the time."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from edgewright.core.rollout.machine import Goal, abort, advance, approve, pause, plan_waves, resume, view_device
from edgewright.core.rollout.moments import minute_text
from edgewright.core.rollout.state import Phase, RolloutState, summarize
from edgewright.errors import EdgewrightError
from edgewright_schemas.thresholds import Gate
from edgewright_wire.messages import ModelReport, ProbeResult, Report
from edgewright_wire.messages import Phase as DevicePhase
from harness.rollout_fleet import START, STATE, FakeFleet, goal, release, rollout_spec

CANARY = {"select": {"matchLabels": {"ring": "canary"}}}
A, B, C = release("A"), release("B"), release("C")


def twelve() -> FakeFleet:
    return FakeFleet({f"d{i:02}": {"ring": "canary" if i == 0 else "wide", "store": str(i % 4)} for i in range(12)})


def verified(fleet: FakeFleet) -> int:
    return sum(state == "verified" for state in fleet.states().values())


def phase(fleet: FakeFleet) -> Phase:
    return fleet.state.phase


def on(fleet: FakeFleet, wanted: Goal) -> FakeFleet:
    """Bring a release to the whole fleet."""
    fleet.run(wanted, 60)
    assert phase(fleet) is Phase.SUCCEEDED, fleet.state.reason
    fleet.log.clear()
    fleet.reasons.clear()
    return fleet


# ── waves ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_waves_take_devices_by_labels_and_by_cumulative_share() -> None:
    devices = {name: device.labels for name, device in twelve().devices.items()}
    spec = rollout_spec(waves=[CANARY, {"percent": 25}, {"percent": 100}])
    canary, quarter, rest = plan_waves("reader", spec, devices)
    assert canary == ("d00",)
    assert len(quarter) == 2
    assert sorted(canary + quarter + rest) == sorted(devices)
    assert plan_waves("reader", spec, dict(reversed(devices.items()))) == (canary, quarter, rest)
    assert plan_waves("another", spec, devices)[1] != quarter


def test_a_device_keeps_its_wave_when_others_leave() -> None:
    devices: dict[str, dict[str, str]] = {f"d{i:03}": {} for i in range(200)}
    spec = rollout_spec(waves=[{"percent": 25}, {"percent": 100}])
    before = set(plan_waves("reader", spec, devices)[0])
    for name in ("d003", "d100", "d150", "d199"):
        del devices[name]
    after = set(plan_waves("reader", spec, devices)[0])
    assert after - before == set() or len(after - before) <= 4
    assert len(before & after) >= 46


def test_devices_that_no_wave_takes_are_left_alone() -> None:
    fleet = on(twelve(), goal(rollout_spec(waves=[CANARY]), A))
    assert fleet.active() == {name: "A" if name == "d00" else None for name in fleet.devices}
    assert {p.reason for n, p in fleet.state.devices.items() if n != "d00"} == {"NotInAnyWave"}
    assert "11 devices are in no wave" in fleet.state.message


def test_each_wave_begins_after_the_one_before_has_passed_and_soaked() -> None:
    fleet = twelve()
    wanted = goal(rollout_spec(waves=[{**CANARY, "soak": "10m"}, {"percent": 100}]), A)
    fleet.report()
    fleet.decide(wanted)
    while fleet.states()["d00"] != "verified":
        assert {device for device, _ in fleet.log} == {"d00"}
        fleet.step(wanted)
    passed_at = fleet.now
    assert phase(fleet) is Phase.SOAKING
    fleet.now = passed_at + timedelta(minutes=9, seconds=59)
    fleet.report()
    assert fleet.decide(wanted).wake_at == passed_at + timedelta(minutes=10)
    assert len(fleet.log) == 1
    fleet.now = passed_at + timedelta(minutes=10)
    fleet.decide(wanted)
    assert len(fleet.log) == 12


def test_a_device_that_fails_in_the_soak_halts_whatever_the_ratio_allows() -> None:
    fleet = twelve()
    spec = rollout_spec(waves=[{"percent": 50, "soak": "1h"}, {"percent": 100}], success={"minRatio": 0.1})
    wanted = goal(spec, A)
    fleet.run(wanted, 8)
    assert phase(fleet) is Phase.SOAKING
    broken = next(name for name, state in fleet.states().items() if state == "verified")
    fleet.devices[broken].lose()
    fleet.step(wanted)
    assert fleet.state.rejected[0].reason == "VerificationLost"
    assert fleet.state.rejected[0].device == broken
    fleet.run(wanted, 6)
    assert phase(fleet) is Phase.FAILED


def test_a_label_wave_nobody_matches_waits_and_one_already_taken_is_passed_over() -> None:
    nobody = FakeFleet(["a", "b"])
    wanted = goal(rollout_spec(waves=[CANARY, {"percent": 100}]), A)
    nobody.run(wanted, 20)
    assert (nobody.state.phase, nobody.state.reason, nobody.log) == (Phase.WAITING, "NoDevices", [])
    nobody.devices["a"].labels["ring"] = "canary"
    nobody.run(replace(wanted, fleet_digest="fleet-2"), 20)
    assert nobody.state.phase is Phase.SUCCEEDED
    taken = FakeFleet({"a": {"ring": "canary"}, "b": {}})
    on(taken, goal(rollout_spec(waves=[{"percent": 100}, CANARY]), A))


# ── budget ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("budget", [{"count": 1}, {"count": 3}, {"count": 1, "per": "store"}])
def test_no_more_than_max_unavailable_change_at_once(budget: dict[str, Any]) -> None:
    fleet = twelve()
    wanted = goal(rollout_spec(maxUnavailable=budget), A)
    fleet.report()
    fleet.decide(wanted)
    most: dict[str, int] = {}
    while fleet.state.phase is not Phase.SUCCEEDED:
        busy: dict[str, int] = {}
        for name, state in fleet.states().items():
            if state in {"offered", "fetching", "staged", "probing"}:
                group = fleet.devices[name].labels["store"] if "per" in budget else ""
                busy[group] = busy.get(group, 0) + 1
        for group, count in busy.items():
            most[group] = max(most.get(group, 0), count)
        fleet.step(wanted)
    assert set(most.values()) == {budget["count"]}
    assert len(most) == (4 if "per" in budget else 1)


def test_one_device_in_no_wave_is_one() -> None:
    devices = {"d0": {"ring": "canary"}, "d1": {"ring": "wide"}}
    fleet = on(FakeFleet(devices), goal(rollout_spec(waves=[CANARY]), A))
    assert "1 device is in no wave" in fleet.state.message


# ── offline devices ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_offline_device_is_deferred_and_catches_up_by_itself() -> None:
    fleet = twelve()
    fleet.devices["d07"].online = False
    wanted = goal(rollout_spec(waves=[CANARY, {"percent": 100}]), A)
    fleet.run(wanted, 30)
    assert phase(fleet) is Phase.SUCCEEDED
    assert fleet.states()["d07"] == "deferred"
    assert fleet.devices["d07"].wanted == A
    assert verified(fleet) == 11
    fleet.devices["d07"].online = True
    fleet.run(wanted, 6)
    assert verified(fleet) == 12
    assert [device for device, _ in fleet.log].count("d07") == 1


def test_a_wave_that_is_offline_says_until_when_it_waits_as_people_write_times() -> None:
    fleet = twelve()
    fleet.devices["d00"].online = False
    fleet.run(goal(rollout_spec(waves=[CANARY, {"percent": 100}], offlineAfter="1m"), A), 4)
    assert fleet.state.reason == "NoDeviceAnswered"
    assert re.search(r"is offline; start one, it waits until \d{4}-\d\d-\d\d \d\d:\d\d UTC$", fleet.state.message)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2026-12-01T06:13:00+00:00", "2026-12-01 06:13 UTC"),
        ("2026-12-01T06:13:00.095680+00:00", "2026-12-01 06:14 UTC"),
        ("2026-12-31T23:59:58+00:00", "2027-01-01 00:00 UTC"),
        ("2026-12-01T06:13:00+01:00", "2026-12-01 05:13 UTC"),
    ],
)
def test_a_moment_is_written_as_the_minute_by_which_it_has_come(moment: str, text: str) -> None:
    assert minute_text(datetime.fromisoformat(moment)) == text


def test_a_device_that_comes_back_while_rolling_takes_its_turn() -> None:
    fleet = twelve()
    fleet.devices["d07"].online = False
    wanted = goal(rollout_spec(maxUnavailable={"count": 2}), A)
    fleet.run(wanted, 4)
    assert fleet.states()["d07"] == "deferred"
    fleet.devices["d07"].online = True
    fleet.run(wanted, 40)
    assert phase(fleet) is Phase.SUCCEEDED
    assert verified(fleet) == 12


def test_a_late_failure_sends_only_that_device_back() -> None:
    fleet = on(twelve(), goal(rollout_spec(), A))
    fleet.devices["d07"].online = False
    fleet.now += timedelta(hours=1)
    second = goal(rollout_spec(), B)
    fleet.run(second, 20)
    fleet.devices["d07"].online = True
    fleet.devices["d07"].refuses["B"] = "ProbeMismatch"
    fleet.run(second, 12)
    assert phase(fleet) is Phase.SUCCEEDED
    progress = fleet.state.devices["d07"]
    assert (progress.state, progress.reason, progress.release) == ("rolledBack", "ProbeMismatch", A)
    assert fleet.active() == {name: "A" if name == "d07" else "B" for name in fleet.devices}
    fleet.run(second, 10)
    assert [what for device, what in fleet.log if device == "d07"] == ["B", "A"]


def test_a_wave_nobody_answers_is_no_evidence() -> None:
    fleet = twelve()
    fleet.devices["d00"].online = False
    wanted = goal(rollout_spec(waves=[CANARY, {"percent": 100}], success={"deadline": "2h"}), A)
    fleet.run(wanted, 100)
    assert (fleet.state.phase, fleet.state.reason) == (Phase.WAITING, "NoDeviceAnswered")
    fleet.run(wanted, 30)
    assert (fleet.state.phase, fleet.state.reason) == (Phase.PAUSED, "NoEvidence")
    assert fleet.log == []
    fleet.state = resume(fleet.state)
    fleet.run(wanted, 30)
    assert fleet.state.reason == "NoDeviceAnswered"
    fleet.devices["d00"].online = True
    fleet.run(wanted, 30)
    assert phase(fleet) is Phase.SUCCEEDED


def test_a_last_wave_nobody_answers_ends_with_the_evidence_before_it() -> None:
    fleet = FakeFleet({"a": {"ring": "canary"}, "b": {}})
    fleet.devices["b"].online = False
    wanted = goal(rollout_spec(waves=[CANARY, {"percent": 100}], success={"deadline": "1h"}), A)
    fleet.run(wanted, 50)
    assert fleet.state.reason == "NoDeviceAnswered"
    fleet.run(wanted, 30)
    assert phase(fleet) is Phase.SUCCEEDED
    assert fleet.devices["b"].wanted == A


# ── failing and returning ─────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_wave_returns_its_devices_and_rejects_the_release_for_good() -> None:
    fleet = on(twelve(), goal(rollout_spec(waves=[CANARY, {"percent": 100}]), A))
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
    on(fleet, goal(rollout_spec(), C))
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
    fleet = on(twelve(), goal(rollout_spec(), A))
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
    on(fleet, goal(rollout_spec(), A))
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
    on(fleet, goal(rollout_spec(), A))
    assert fleet.states()["d01"] == "ineligible"
    alone = FakeFleet(["a"])
    alone.devices["a"].refuses["A"] = "Incompatible"
    alone.run(goal(rollout_spec(), A), 10)
    assert (alone.state.phase, alone.state.reason) == (Phase.FAILED, "NoEligibleDevice")


def test_on_failure_pause_waits_for_a_person_who_may_go_on_or_abort() -> None:
    fleet = on(twelve(), goal(rollout_spec(), A))
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
    fleet = on(twelve(), goal(rollout_spec(), A))
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
    fleet = on(twelve(), goal(rollout_spec(), A))
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
    fleet = on(twelve(), goal(rollout_spec(), A))
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


# ── people and the time ───────────────────────────────────────────────────────────────────────────────────────


def test_a_wave_waits_for_its_approval() -> None:
    fleet = twelve()
    wanted = goal(rollout_spec(waves=[CANARY, {"percent": 50}, {"percent": 100}], approval={"beforeWave": 2}), A)
    fleet.run(wanted, 20)
    assert (fleet.state.phase, len(fleet.log)) == (Phase.AWAITING_APPROVAL, 1)
    fleet.state = approve(fleet.state, 2)
    fleet.run(wanted, 20)
    assert (fleet.state.phase, len(fleet.log)) == (Phase.AWAITING_APPROVAL, 6)
    fleet.state = approve(fleet.state, 3)
    fleet.run(wanted, 20)
    assert phase(fleet) is Phase.SUCCEEDED


def test_waves_begin_only_inside_the_window_and_returning_does_not_wait_for_it() -> None:
    fleet = twelve()
    window = {"cron": "0 22 * * *", "duration": "1h", "timeZone": "Europe/Paris"}
    wanted = goal(rollout_spec(waves=[CANARY, {**CANARY}, {"percent": 100}], window=window, offlineAfter="1d"), A)
    result = fleet.run(wanted, 20)
    assert (fleet.state.reason, fleet.log) == ("OutsideWindow", [])
    assert result.wake_at is not None
    assert result.wake_at.isoformat() == "2026-03-02T21:00:00+00:00"
    fleet.now = result.wake_at - timedelta(minutes=1)
    fleet.devices["d00"].refuses["A"] = "ProbeMismatch"
    fleet.step(wanted)
    assert len(fleet.log) == 1
    fleet.now += timedelta(hours=2)
    fleet.run(wanted, 10)
    assert phase(fleet) is Phase.FAILED


def test_suspend_and_pause_assign_nothing_and_let_the_rest_finish() -> None:
    fleet = twelve()
    spec = rollout_spec(maxUnavailable={"count": 2})
    wanted = goal(spec, A)
    fleet.report()
    fleet.decide(wanted)
    suspended = replace(wanted, spec=spec.model_copy(update={"suspend": True}))
    fleet.run(suspended, 10)
    assert (fleet.state.phase, fleet.state.reason, len(fleet.log)) == (Phase.PAUSED, "Suspended", 2)
    assert verified(fleet) == 2
    with pytest.raises(EdgewrightError, match="not paused"):
        resume(fleet.state)
    fleet.step(wanted)
    assert len(fleet.log) == 4
    fleet.state = pause(fleet.state)
    fleet.run(wanted, 10)
    assert (fleet.state.phase, len(fleet.log), verified(fleet)) == (Phase.PAUSED, 4, 4)
    fleet.state = resume(fleet.state)
    fleet.run(wanted, 40)
    assert phase(fleet) is Phase.SUCCEEDED


def test_abort_returns_every_device_and_rejects_the_release() -> None:
    fleet = on(twelve(), goal(rollout_spec(), A))
    wanted = goal(rollout_spec(maxUnavailable={"count": 4}), B)
    fleet.run(wanted, 6)
    fleet.state = abort(fleet.state)
    fleet.run(wanted, 6)
    assert phase(fleet) is Phase.ABORTED
    assert set(fleet.active().values()) == {"A"}
    assert fleet.state.rejected[0].reason == "Aborted"
    for ask in (abort, pause, resume):
        with pytest.raises(EdgewrightError, match="aborted already"):
            ask(fleet.state)


# ── device gates ──────────────────────────────────────────────────────────────────────────────────────────────

SLOW = Gate.model_validate({"metric": "latencyP95Ms", "deviceClass": "camera", "max": 40})


def cameras() -> FakeFleet:
    return FakeFleet(
        {f"d{i}": {"ring": "canary" if i < 2 else "", "class": "camera" if i > 1 else "pc"} for i in range(6)}
    )


def test_a_device_gate_is_judged_from_the_wave_that_has_its_class() -> None:
    spec = rollout_spec(waves=[CANARY, {"percent": 100}], maxUnavailable={"count": 1})
    fleet = on(cameras(), goal(spec, A, gates=[SLOW]))
    fleet.devices["d3"].latency = 41
    fleet.run(goal(spec, B, gates=[SLOW]), 60)
    assert (fleet.state.phase, fleet.state.reason) == (Phase.FAILED, "DeviceGateFailed")
    assert fleet.state.rejected[0].device == "d3"
    assert set(fleet.active().values()) == {"A"}


def test_a_device_gate_without_a_figure_does_not_pass_in_the_end() -> None:
    fleet = cameras()
    for device in fleet.devices.values():
        device.latency = None
    fleet.run(goal(rollout_spec(waves=[CANARY, {"percent": 100}]), A, gates=[SLOW]), 30)
    assert (fleet.state.phase, fleet.state.reason) == (Phase.FAILED, "DeviceGateInconclusive")


def test_a_device_gate_nobody_can_answer_stops_the_rollout_before_it_begins() -> None:
    fleet = twelve()
    fleet.run(goal(rollout_spec(), A, gates=[SLOW]), 10)
    assert (fleet.state.phase, fleet.state.reason, fleet.log) == (Phase.WAITING, "GateInconclusive", [])


def test_a_failed_device_gate_may_be_accepted_after_a_pause() -> None:
    fleet = cameras()
    fleet.devices["d3"].latency = 41
    wanted = goal(rollout_spec(onFailure="pause"), A, gates=[SLOW])
    fleet.run(wanted, 10)
    assert (fleet.state.phase, fleet.state.reason) == (Phase.PAUSED, "DeviceGateFailed")
    fleet.state = resume(fleet.state)
    fleet.run(wanted, 10)
    assert phase(fleet) is Phase.SUCCEEDED


# ── new keys, changing fleets ─────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_with_the_same_release_assigns_nothing_again() -> None:
    fleet = on(twelve(), goal(rollout_spec(), A))
    fleet.run(goal(rollout_spec(waves=[CANARY, {"percent": 100, "soak": "1m"}]), A, key="other"), 10)
    assert (fleet.state.phase, fleet.state.key, fleet.log) == (Phase.SUCCEEDED, "other", [])


def test_a_reverted_release_assigns_only_those_that_left_it() -> None:
    fleet = on(twelve(), goal(rollout_spec(), A))
    spec = rollout_spec(waves=[CANARY, {"percent": 100}], approval={"beforeWave": 2})
    fleet.run(goal(spec, B), 10)
    assert fleet.devices["d00"].active == "B"
    fleet.log.clear()
    fleet.run(goal(rollout_spec(), A, key="back"), 10)
    assert phase(fleet) is Phase.SUCCEEDED
    assert fleet.log == [("d00", "A")]


def test_a_newer_release_supersedes_one_in_flight_within_the_budget() -> None:
    fleet = on(twelve(), goal(rollout_spec(), A))
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
    fleet = on(twelve(), goal(rollout_spec(), A))
    spec = rollout_spec(waves=[CANARY, {"percent": 100}], approval={"beforeWave": 2})
    fleet.run(goal(spec, B), 10)
    fleet.devices["d00"].refuses["C"] = "ProbeMismatch"
    fleet.run(goal(rollout_spec(), C), 20)
    assert phase(fleet) is Phase.FAILED
    assert fleet.active() == {name: "B" if name == "d00" else "A" for name in fleet.devices}
    assert fleet.devices["d00"].wanted == B


def test_what_a_device_verifies_of_a_superseded_release_is_what_it_returns_to() -> None:
    fleet = on(twelve(), goal(rollout_spec(), A))
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
    fleet = on(FakeFleet({"a": {"ring": "canary"}, "b": {}}), goal(rollout_spec(), A))
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
    fleet = on(twelve(), wanted)
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
    fleet = on(twelve(), wanted)
    for name in ("d03", "d04"):
        fleet.devices[name].labels["store"] = "9"
    later = replace(wanted, fleet_digest="fleet-2")
    fleet.report()
    fleet.decide(later)
    assert len(fleet.log) == 1
    fleet.run(later, 20)
    assert phase(fleet) is Phase.SUCCEEDED
    assert sorted(fleet.log) == [("d03", "A"), ("d04", "A")]
    plain = on(twelve(), goal(rollout_spec(), B))
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
    fleet = on(twelve(), goal(rollout_spec(), A))
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
    fleet = on(twelve(), goal(rollout_spec(), A))
    again = advance(fleet.state, goal(rollout_spec(), A), fleet.views(), fleet.now + timedelta(days=3))
    assert again.state is fleet.state
    assert (again.assign, again.events, again.wake_at) == ((), (), None)
