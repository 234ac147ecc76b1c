"""Trouble that passes by itself, such as a clock that is not set yet: it puts a device off, and rejects no release."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edgewright.core.fleet.routes import Proof
from edgewright.core.rollout.machine import Advance, DeviceView, Goal, advance
from edgewright.core.rollout.state import DeviceState, Phase, Release, RolloutState
from edgewright_schemas.rollout import RolloutSpec
from edgewright_wire.messages import Phase as DevicePhase

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RELEASE = Release("r1", "sha256:" + "a" * 64, 10, 100)
SPEC = RolloutSpec.model_validate({"model": "m", "fleet": "f", "waves": [{"percent": 100}]})
GOAL = Goal(name="m", spec=SPEC, release=RELEASE, key="k1", fleet_digest="f1")
NEW = DeviceView(labels={}, last_seen=NOW, proves=Proof.VERIFIED)


def says(at: datetime, phase: DevicePhase | None, reason: str = "") -> DeviceView:
    """A device that has taken up version 1, as seen at that time."""
    release = RELEASE.fingerprint
    active = release if phase is DevicePhase.VERIFIED else None
    return replace(
        NEW,
        last_seen=at,
        assignment=1,
        taken=1,
        phase=phase,
        release=release,
        active_release=active,
        verified=active is not None,
        reason=reason,
    )


def run(*passes: tuple[DeviceView, DeviceView], every: timedelta = timedelta(minutes=1)) -> Advance:
    """Assign the release to two devices, one after the other, and see them like this."""
    result, now = advance(RolloutState(), GOAL, {"d0": NEW, "d1": NEW}, NOW), NOW
    for first, second in passes:
        now += every
        devices = {"d0": replace(first, last_seen=now), "d1": replace(second, last_seen=now)}
        result = advance(result.state, GOAL, devices, now)
    return result


@pytest.mark.parametrize("rounds", [1, 200])
def test_a_clock_that_is_not_set_rejects_no_release_however_long_it_takes(rounds: int) -> None:
    failed = says(NOW, DevicePhase.FAILED, "ClockNotSet")
    verified = says(NOW, DevicePhase.VERIFIED)
    result = run((verified, NEW), *[(verified, failed)] * rounds, every=timedelta(minutes=30))
    assert result.state.rejected == ()
    assert result.state.devices["d1"].state is DeviceState.DEFERRED
    assert result.state.devices["d1"].reason == "ClockNotSet"
    assert result.state.phase is Phase.SUCCEEDED
    again = run((verified, NEW), *[(verified, failed)] * rounds, (verified, verified), every=timedelta(minutes=30))
    assert again.state.devices["d1"].state is DeviceState.VERIFIED


def test_another_failure_after_it_counts() -> None:
    verified = says(NOW, DevicePhase.VERIFIED)
    failed = [(verified, says(NOW, DevicePhase.FAILED, reason)) for reason in ("ClockNotSet", "ProbeMismatch")]
    result = run((verified, NEW), *failed)
    assert result.state.devices["d1"].reason == "ProbeMismatch"
