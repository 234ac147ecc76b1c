"""Devices with wrong clocks: a canary hours behind gives its verdict, a silent one that is ahead goes offline."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.rollout.state import Phase
from edgewright_wire.messages import Report
from harness.memory_run import FILES, Devices, World, model

READER = Address("rollout", "reader")


class WrongClocks(Devices):
    """Devices whose clocks are some way off; ``observe`` may be asked at any time."""

    def __init__(self, clock, off: Mapping[str, timedelta]) -> None:  # type: ignore[no-untyped-def] # as its base
        super().__init__(clock)
        self.off = off

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        found = super().observe(known)
        return [
            report.model_copy(update={"sent_at": report.sent_at + self.off.get(report.device, timedelta(0))})
            for report in found
        ]


class Moving:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.fromisoformat("2026-03-02T09:00:00+00:00")

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=200)
        return self.now


def world(tmp_path: Path, **hours: float) -> tuple[World, Moving]:
    clock = Moving()
    made = World(tmp_path, FILES, clock)
    made.devices = WrongClocks(clock, {name.replace("_", "-"): timedelta(hours=h) for name, h in hours.items()})
    return made, clock


@pytest.mark.parametrize("hours", [-2, -24 * 20_000, 2, 24 * 27_000])
def test_a_device_that_reports_is_online_whatever_its_clock_says(tmp_path: Path, hours: float) -> None:
    made, _ = world(tmp_path, lane_1=hours, lane_2=hours)
    made.run()
    found = made.state.rollout(READER)
    assert found is not None
    assert (found.phase, {p.state.value for p in found.devices.values()}) == (Phase.SUCCEEDED, {"verified"})


def test_a_failure_of_a_canary_whose_clock_is_behind_still_halts(tmp_path: Path) -> None:
    made, _ = world(tmp_path, lane_1=-2, lane_2=-2)
    made.devices.refused = {"lane-1", "lane-2"}
    made.run()
    assert made.state.rollout_summaries()[READER].phase is Phase.FAILED


def test_a_silent_device_whose_clock_is_ahead_is_offline_and_rejects_nothing(tmp_path: Path) -> None:
    made, clock = world(tmp_path, lane_1=24, lane_2=24)
    made.run()
    made.devices.hush("lane-2")
    clock.now += timedelta(hours=1)
    made.devices._said.clear()  # lane-1 reports anew
    made.source.commit(model("reader", epochs=4))
    made.run()
    found = made.state.rollout(READER)
    assert found is not None
    assert found.devices["lane-2"].state == "deferred"
    assert not found.rejected
    clock.now += timedelta(days=2)
    made.run()
    assert not made.state.rollout_summaries()[READER].rejected
