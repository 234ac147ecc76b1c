"""Devices whose class can show no more than installation count with that, and are told apart from verified ones."""

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


def view(proves: Proof, phase: DevicePhase | None = None, *, taken: int = 0, verified: bool = False) -> DeviceView:
    """A device that has been assigned version 1, as seen a moment ago."""
    release = RELEASE.fingerprint if phase else None
    at_end = phase in {DevicePhase.INSTALLED, DevicePhase.VERIFIED}
    return DeviceView(
        labels={},
        last_seen=NOW,
        assignment=taken,
        taken=taken,
        phase=phase,
        release=release,
        active_release=release if at_end else None,
        verified=verified,
        proves=proves,
    )


def after(*views: DeviceView) -> Advance:
    """Assign the release to as many devices, then see them like this."""
    names = [f"d{index}" for index in range(len(views))]
    first = advance(
        RolloutState(), GOAL, {name: view(each.proves) for name, each in zip(names, views, strict=True)}, NOW
    )
    return advance(first.state, GOAL, dict(zip(names, views, strict=True)), NOW + timedelta(minutes=1))


def test_installation_is_enough_where_the_class_can_show_no_more() -> None:
    result = after(
        view(Proof.INSTALLED, DevicePhase.INSTALLED, taken=1),
        view(Proof.VERIFIED, DevicePhase.VERIFIED, taken=1, verified=True),
    )

    assert result.state.phase is Phase.SUCCEEDED
    assert [p.state for p in result.state.devices.values()] == [DeviceState.INSTALLED, DeviceState.VERIFIED]
    assert "1 verified, 1 installed" in next(e.message for e in result.events if e.reason == "WavePassed")


def test_a_device_that_can_prove_more_does_not_pass_with_less() -> None:
    result = after(view(Proof.VERIFIED, DevicePhase.INSTALLED, taken=1))

    assert result.state.phase is Phase.ROLLING
    assert result.state.devices["d0"].state is DeviceState.PROBING


def test_more_than_was_asked_for_is_told_as_what_it_is() -> None:
    result = after(view(Proof.INSTALLED, DevicePhase.VERIFIED, taken=1, verified=True))

    assert result.state.devices["d0"].state is DeviceState.VERIFIED


@pytest.mark.parametrize("asked", [Proof.VERIFIED, Proof.INSTALLED])
def test_what_is_installed_is_kept_when_its_class_is_asked_for_something_else(asked: Proof) -> None:
    shown = after(view(Proof.INSTALLED, DevicePhase.INSTALLED, taken=1))
    later = advance(shown.state, GOAL, {"d0": view(asked, DevicePhase.INSTALLED, taken=1)}, NOW + timedelta(minutes=2))

    kept = later.state.devices["d0"].state
    assert kept is (DeviceState.INSTALLED if asked is Proof.INSTALLED else DeviceState.FAILED)


def test_an_installed_device_that_lost_the_release_is_noticed() -> None:
    shown = after(view(Proof.INSTALLED, DevicePhase.INSTALLED, taken=1))
    lost = view(Proof.INSTALLED, DevicePhase.IDLE, taken=1)
    later = advance(shown.state, GOAL, {"d0": lost}, NOW + timedelta(minutes=2))

    assert later.state.devices["d0"].state is DeviceState.FAILED
    assert later.state.devices["d0"].reason == "VerificationLost"


def test_a_class_that_is_asked_for_proof_from_now_on_gives_it_wave_by_wave() -> None:
    shown = after(view(Proof.INSTALLED, DevicePhase.INSTALLED, taken=1))
    stricter = replace(GOAL, key="k2")
    again = advance(
        shown.state, stricter, {"d0": view(Proof.VERIFIED, DevicePhase.INSTALLED, taken=1)}, NOW + timedelta(minutes=2)
    )

    assert [device for device, _ in again.assign] == ["d0"]
    assert again.state.phase is Phase.ROLLING
    assert not again.state.rejected
