"""What every state store must do: SQLite read by its own driver, the same through SQLAlchemy alone (the way of a
database named by URL), a real PostgreSQL server, and the fake.
"""

from dataclasses import fields, replace
from datetime import timedelta

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.fleet.presence import ReceivedReport, received_at
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import DeviceProgress, DeviceState, Phase, RolloutState, summarize
from edgewright.errors import StateError
from edgewright.ports import Event
from edgewright_wire.messages import Assignment, Report
from harness.state_stores import State, Subject
from samples.state_values import (
    MODEL,
    NOW,
    ROLLOUT,
    a_release,
    a_report,
    a_rollout,
    an_artifact,
    an_assignment,
    digest,
)


def test_a_store_that_is_not_there_yet_is_empty(subject: Subject) -> None:
    state, _ = subject.open()
    assert (dict(state.artifacts()), dict(state.champions()), dict(state.rollout_summaries())) == ({}, {}, {})
    assert (dict(state.assignments()), dict(state.reports(["a"])), dict(state.managed())) == ({}, {}, {})
    assert (dict(state.failures()), dict(state.enrolled()), dict(state.durations())) == ({}, {}, {})
    assert (list(state.open_intents()), list(state.events()), dict(state.requested_controls())) == ([], [], {})
    assert (state.rollout(ROLLOUT), state.plan_used("p"), state.last_revision()) == (None, None, None)
    assert (dict(state.report_sequences()), dict(state.conditions()), dict(state.notified())) == ({}, {}, {})
    assert (dict(state.signals()), list(state.events_after(0)), state.last_event()) == ({}, [], 0)
    assert list(state.unpublished()) == []
    assert (state.accepted_revision(), state.version()) == (None, "0-0")


def test_artifacts_come_back_whole_oldest_first(state: State, subject: Subject) -> None:
    new, old = an_artifact("new"), an_artifact("old", age=5)
    state.record_artifact(new)
    state.record_artifact(old)
    found = subject.open()[0].artifacts()
    assert list(found) == [old.fingerprint, new.fingerprint]
    assert (found[new.fingerprint], found[old.fingerprint]) == (new, old)
    assert new.fingerprint in found
    assert "sha256:other" not in found
    assert found.get("sha256:other") is None
    assert list(found[new.fingerprint].files) == ["weights.pt", "history.json"]
    assert all(getattr(new, field.name) for field in fields(new)), "a field the sample leaves empty is not tested"


def test_an_artifact_without_a_time(state: State) -> None:
    artifact = replace(an_artifact(), created_at=None)
    state.record_artifact(artifact)
    assert state.artifacts()[artifact.fingerprint] == artifact


def test_recording_an_artifact_clears_its_failure(state: State) -> None:
    artifact = an_artifact()
    state.record_failure(artifact.fingerprint, "loss is NaN")
    state.record_failure("sha256:other", "no rows")
    state.record_artifact(artifact)
    assert state.failures() == {"sha256:other": "no rows"}


def test_forgotten_artifacts_are_gone(state: State) -> None:
    first, second = an_artifact("1"), an_artifact("2")
    for artifact in (first, second):
        state.record_artifact(artifact)
    state.forget_artifacts([first.fingerprint, "sha256:never"])
    assert list(state.artifacts()) == [second.fingerprint]


def test_durations_are_those_of_the_last_run(state: State) -> None:
    state.record_artifact(an_artifact("new", age=1))
    state.record_artifact(an_artifact("old", age=9))
    state.record_artifact(an_artifact("export", action=Action.EXPORT))
    assert state.durations() == {
        (Action.TRAIN, str(MODEL)): timedelta(seconds=13.5),
        (Action.EXPORT, str(MODEL)): timedelta(seconds=12.5),
    }


def test_a_champion_is_replaced(state: State) -> None:
    first = Champion(digest("p1"), digest("e1"), digest("ef1"), "int8", digest("t1"))
    state.set_champion("reader", first)
    assert state.champions() == {"reader": first}
    second = Champion(digest("p2"), digest("e2"), digest("ef2"), "fp32")
    state.set_champion("reader", second)
    assert state.champions() == {"reader": second}


def test_a_rollout_comes_back_whole(state: State, subject: Subject) -> None:
    rollout = a_rollout("lane-1", "lane-2")
    state.save_rollout(ROLLOUT, rollout)
    reader, _ = subject.open()
    assert reader.rollout(ROLLOUT) == rollout
    assert reader.rollout_summaries() == {ROLLOUT: summarize(rollout)}
    sample = rollout.devices["lane-1"]
    defaults = DeviceProgress()
    untested = [f.name for f in fields(sample) if getattr(sample, f.name) == getattr(defaults, f.name)]
    untested += [f.name for f in fields(rollout) if getattr(rollout, f.name) == getattr(RolloutState(), f.name)]
    assert untested == [], "a field the sample leaves at its default is not tested"


def test_a_rollouts_devices_change_come_and_go(state: State) -> None:
    rollout = a_rollout("lane-1", "lane-2", "lane-3")
    state.save_rollout(ROLLOUT, rollout)
    state.save_rollout(Address("rollout", "other"), a_rollout("lane-9"))
    changed = replace(rollout.devices["lane-2"], state=DeviceState.VERIFIED, verified=rollout.release, message="")
    after = replace(
        rollout,
        phase=Phase.SOAKING,
        devices={"lane-0": DeviceProgress(), "lane-1": rollout.devices["lane-1"], "lane-2": changed},
    )
    state.save_rollout(ROLLOUT, after)
    assert state.rollout(ROLLOUT) == after
    assert state.rollout_summaries()[ROLLOUT].counts == {
        DeviceState.PENDING: 1,
        DeviceState.PROBING: 1,
        DeviceState.VERIFIED: 1,
    }
    other = state.rollout(Address("rollout", "other"))
    assert other is not None
    assert list(other.devices) == ["lane-9"]


def test_releases_with_one_fingerprint_are_kept_apart(state: State) -> None:
    one, two = a_release(), replace(a_release(), manifest_size=1)
    rollout = RolloutState(devices={"a": DeviceProgress(release=one), "b": DeviceProgress(release=two, verified=one)})
    state.save_rollout(ROLLOUT, rollout)
    assert state.rollout(ROLLOUT) == rollout


def test_a_rollouts_decisions_are_stored_whole(state: State) -> None:
    event = Event(NOW, "WaveStarted", str(ROLLOUT), "wave 1", {"devices": 2}, "abc")
    rollout = a_rollout("lane-1", "lane-2")
    offers = [an_assignment("lane-1", 1), an_assignment("lane-2", 7, config=True)]
    champion = Champion(digest("p"), digest("e"), digest("ef"), "int8")
    state.save_rollout_with_assignments(ROLLOUT, rollout, offers, [event], ("reader", champion))
    assert state.rollout(ROLLOUT) == rollout
    found = state.assignments()
    assert [(a.assignment, a.published) for a in found.values()] == [(offers[0], False), (offers[1], False)]
    assert list(state.events()) == [event]
    assert state.champions() == {"reader": champion}


@pytest.mark.parametrize("refused", [an_assignment("lane-2", 4), an_assignment("lane-2", 5, "another")])
def test_an_assignments_version_only_grows_and_nothing_is_stored_beside_one_refused(
    state: State, refused: Assignment
) -> None:
    before = a_rollout("lane-2")
    state.save_rollout_with_assignments(ROLLOUT, before, [an_assignment("lane-2", 5)], [])
    version = state.version()
    decisions = [an_assignment("lane-1", 1), refused]
    with pytest.raises(StateError, match="lane-2"):
        state.save_rollout_with_assignments(
            ROLLOUT,
            a_rollout(phase=Phase.FAILED),
            decisions,
            [Event(NOW, "X", str(ROLLOUT), "x")],
            ("reader", Champion("p", "e", "f", "int8")),
        )
    assert state.rollout(ROLLOUT) == before
    assert list(state.assignments()) == ["lane-2"]
    assert (list(state.events()), dict(state.champions())) == ([], {})
    assert state.version() == version


def test_an_assignment_stored_again_stays_published_and_a_newer_one_is_not(state: State) -> None:
    first = an_assignment("lane-1", 1)
    state.save_rollout_with_assignments(ROLLOUT, a_rollout(), [first], [])
    state.mark_published({"lane-1": 1, "lane-9": 1})
    state.save_rollout_with_assignments(ROLLOUT, a_rollout(), [first], [])
    assert state.assignments()["lane-1"].published
    assert list(state.unpublished()) == []
    state.save_rollout_with_assignments(ROLLOUT, a_rollout(), [an_assignment("lane-1", 2)], [])
    state.mark_published({"lane-1": 1})
    assert not state.assignments()["lane-1"].published
    assert list(state.unpublished()) == [state.assignments()["lane-1"].assignment]


def test_rows_of_chosen_devices(state: State) -> None:
    names = [f"lane-{index:04}" for index in range(1200)]
    state.save_rollout_with_assignments(ROLLOUT, a_rollout(), [an_assignment(n, 1) for n in names], [])
    assert list(state.assignments(["lane-0003", "lane-0001", "none"])) == ["lane-0001", "lane-0003"]
    assert list(state.assignments([])) == []
    assert list(state.assignments(names[:700])) == names[:700]
    assert len(state.assignments()) == 1200


def test_reports_keep_the_newest_sequence(state: State) -> None:
    newest = a_report("lane-1", 3, minutes=2)
    state.record_reports([a_report("lane-1", 2), newest, a_report("lane-1", 1), a_report("lane-2", 1)])
    state.record_reports([a_report("lane-1", 2, minutes=1)])
    assert state.reports() == {"lane-1": newest, "lane-2": a_report("lane-2", 1)}
    assert state.reports(["lane-2"]) == {"lane-2": a_report("lane-2", 1)}


def test_a_device_that_lost_its_disk_counts_from_one_again(state: State) -> None:
    state.record_reports([a_report("lane-1", 90)])
    anew = a_report("lane-1", 1, minutes=5)
    state.record_reports([anew])
    assert state.reports()["lane-1"] == anew


def test_a_device_whose_clock_went_back_is_still_heard(state: State) -> None:
    state.record_reports([a_report("lane-1", 90)])
    next_ = a_report("lane-1", 91, minutes=-500)
    state.record_reports([next_])
    assert state.reports()["lane-1"] == next_


@pytest.mark.parametrize("days", [27_000, -20_000, 0.02])
def test_a_clock_that_jumped_silences_no_name_for_good(state: State, days: float) -> None:
    """A report of 2099, of 1971, or of half an hour ahead, keeps out no later one of a new disk."""
    wrong = a_report("lane-1", 4_000_000_000, minutes=round(days * 24 * 60))
    state.record_reports([wrong], wrong.sent_at)
    now = a_report("lane-1", 5).sent_at
    state.record_reports([a_report("lane-1", 5)])
    state.record_reports([a_report("lane-1", 5)], now)
    assert state.reports()["lane-1"].sequence == 5


def test_a_late_copy_of_an_older_report_is_still_ignored(state: State) -> None:
    state.record_reports([a_report("lane-1", 90, minutes=3)], a_report("lane-1", 1, minutes=3).sent_at)
    state.record_reports([a_report("lane-1", 89)], a_report("lane-1", 1, minutes=4).sent_at)
    assert state.reports()["lane-1"].sequence == 90


def test_a_stored_report_knows_when_it_arrived(state: State) -> None:
    sent = a_report("lane-1", 1)
    arrived = sent.sent_at + timedelta(hours=2)
    state.record_reports([ReceivedReport.stamp(sent, arrived), a_report("lane-2", 1)])
    assert received_at(state.reports()["lane-1"]) == arrived
    assert received_at(state.reports()["lane-2"]) == sent.sent_at


def test_reports_are_decoded_as_reports(state: State) -> None:
    state.record_reports([a_report("lane-1", 1)])
    assert isinstance(state.reports()["lane-1"], Report)


def test_the_inventory_is_replaced(state: State) -> None:
    state.set_managed({MODEL: False, ROLLOUT: True})
    state.set_managed({MODEL: True, Address("fleet", "stores"): False})
    assert state.managed() == {Address("fleet", "stores"): False, MODEL: True}
