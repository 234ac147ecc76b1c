"""Rollouts, one rule at a time: people, the time, and gates on devices."""

from dataclasses import replace
from datetime import timedelta

import pytest

from edgewright.core.rollout.machine import abort, approve, pause, resume
from edgewright.core.rollout.state import Phase
from edgewright.errors import EdgewrightError
from edgewright_schemas.thresholds import Gate
from harness.rollout_fleet import CANARY, FakeFleet, bring, goal, phase, rollout_spec, twelve, verified
from harness.rollout_fleet import RELEASE_A as A
from harness.rollout_fleet import RELEASE_B as B

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
    fleet = bring(twelve(), goal(rollout_spec(), A))
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
    fleet = bring(cameras(), goal(spec, A, gates=[SLOW]))
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
