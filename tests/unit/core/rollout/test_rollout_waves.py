"""Rollouts, one rule at a time: waves, budgets, and devices that are offline."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from edgewright.core.rollout.machine import plan_waves, resume
from edgewright.core.rollout.moments import minute_text
from edgewright.core.rollout.state import Phase
from harness.rollout_fleet import (
    CANARY,
    FakeFleet,
    bring,
    goal,
    phase,
    rollout_spec,
    twelve,
    verified,
)
from harness.rollout_fleet import RELEASE_A as A
from harness.rollout_fleet import RELEASE_B as B

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
    fleet = bring(twelve(), goal(rollout_spec(waves=[CANARY]), A))
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
    bring(taken, goal(rollout_spec(waves=[{"percent": 100}, CANARY]), A))


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
    fleet = bring(FakeFleet(devices), goal(rollout_spec(waves=[CANARY]), A))
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
    first = r"has yet to report for the first time; start one's agent or client, it waits until {}"
    assert re.search(first.format(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC$"), fleet.state.message)


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
    fleet = bring(twelve(), goal(rollout_spec(), A))
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
