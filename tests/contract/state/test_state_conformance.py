"""What every state store must do: SQLite read by its own driver, the same through SQLAlchemy alone (the way of a
database named by URL), a real PostgreSQL server, and the fake.
"""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.fleet.presence import ReceivedReport, received_at
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, DeviceProgress, DeviceState, Phase, RolloutState, summarize
from edgewright.errors import LeaseHeld, LeaseLost, StateError
from edgewright.ports import Event, Intent
from edgewright_wire.messages import Assignment, Report
from harness.state_stores import TTL, State, Subject
from samples.state_values import (
    MODEL,
    NOW,
    ROLLOUT,
    a_release,
    a_report,
    a_rollout,
    an_artifact,
    an_assignment,
    conditions,
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


def test_the_journal_lists_open_intents_oldest_first(state: State) -> None:
    later = Intent("publish b", "publish", str(MODEL), {"package": digest("b")}, NOW)
    sooner = Intent("train z", "train", str(MODEL), {}, NOW - timedelta(seconds=1))
    state.begin(later)
    state.begin(sooner)
    state.begin(replace(later, at=NOW + timedelta(hours=1)))
    assert list(state.open_intents()) == [sooner, later]
    state.finish("train z", "done")
    state.finish("train z", "failed")
    state.finish("never begun", "done")
    assert list(state.open_intents()) == [later]


def test_a_closed_intent_can_be_begun_anew(state: State) -> None:
    intent = Intent("train a", "train", str(MODEL), {}, NOW)
    state.begin(intent)
    state.finish(intent.name, "failed")
    again = replace(intent, at=NOW + timedelta(hours=1), detail={"attempt": 2})
    state.begin(again)
    assert list(state.open_intents()) == [again]


def test_a_plan_is_used_once(state: State) -> None:
    assert state.use_plan("plan-1", NOW)
    assert not state.use_plan("plan-1", NOW + timedelta(days=1))
    assert state.plan_used("plan-1") == NOW
    assert state.plan_used("plan-2") is None


def test_events_are_listed_newest_first_and_by_address(state: State) -> None:
    events = [Event(NOW, "StepDone", str((MODEL, ROLLOUT)[i % 2]), f"step {i}", {"i": i}, "rev") for i in range(6)]
    state.add_events(events[:4])
    state.add_events(events[4:])
    assert [e.message for e in state.events(limit=3)] == ["step 5", "step 4", "step 3"]
    assert [e.message for e in state.events(address=str(MODEL))] == ["step 4", "step 2", "step 0"]
    assert state.events()[0] == events[5]


def test_the_last_revision(state: State) -> None:
    state.set_last_revision("abc")
    state.set_last_revision("def")
    assert state.last_revision() == "def"


def test_devices_are_enrolled_relabelled_and_removed(state: State) -> None:
    state.enroll({"lane-1": {"ring": "canary", "store": "7"}, "lane-2": {}})
    state.enroll({"lane-1": {"ring": "all"}})
    state.unenroll(["lane-2", "lane-9"])
    assert state.enrolled() == {"lane-1": {"ring": "all"}}


def test_requests_for_controls_stay_until_taken_and_a_newer_one_is_not_lost(state: State) -> None:
    state.request_controls(ROLLOUT, Controls(paused=True))
    taken = state.requested_controls()
    assert taken == {ROLLOUT: Controls(paused=True)}
    state.request_controls(ROLLOUT, Controls(approved_before=2))
    state.take_controls(taken)
    assert state.requested_controls() == {ROLLOUT: Controls(approved_before=2)}
    state.take_controls(state.requested_controls())
    assert state.requested_controls() == {}


def test_the_version_changes_with_every_change_and_with_nothing_else(state: State, subject: Subject) -> None:
    other, _ = subject.open()
    changes: list[Callable[[], object]] = [
        lambda: state.record_artifact(an_artifact()),
        lambda: state.save_rollout(ROLLOUT, a_rollout("lane-1")),
        lambda: state.save_rollout_with_assignments(ROLLOUT, a_rollout("lane-1"), [an_assignment("lane-1", 1)], []),
        lambda: state.mark_published({"lane-1": 1}),
        lambda: state.record_reports([a_report("lane-1", 2)]),
        lambda: state.set_managed({MODEL: False}),
        lambda: state.begin(Intent("train a", "train", str(MODEL), {}, NOW)),
        lambda: state.finish("train a", "done"),
        lambda: state.use_plan("p", NOW),
        lambda: state.set_last_revision("abc"),
        lambda: state.enroll({"lane-1": {"a": "1", "b": "2"}}),
        lambda: state.set_champion("m", Champion("p", "e", "f", "int8")),
        lambda: state.record_failure("sha256:f", "no rows"),
        lambda: state.forget_artifacts([an_artifact().fingerprint]),
        lambda: state.accept_revision("def"),
        lambda: state.set_conditions({MODEL: conditions("UpToDate")}),
        lambda: state.add_events([Event(NOW, "X", "", "x")]),
        lambda: state.set_notified("chat", 1),
        lambda: state.signal("reconcile"),
    ]
    seen = {state.version()}
    for change in changes:
        change()
        assert other.version() not in seen
        seen.add(state.version())
    version = state.version()
    state.record_reports([a_report("lane-1", 1)])
    state.set_managed({MODEL: False})
    state.enroll({"lane-1": {"b": "2", "a": "1"}})
    state.save_rollout(ROLLOUT, a_rollout("lane-1"))
    state.mark_published({"lane-1": 1})
    assert not state.use_plan("p", NOW)
    state.add_events([])
    state.record_failure("sha256:f", "no rows")
    state.forget_artifacts(["sha256:never"])
    state.accept_revision("def")
    state.set_conditions({MODEL: conditions("UpToDate")})
    state.set_notified("chat", 1)
    assert state.prune_history(keep=1) == 0
    assert state.version() == version


def test_the_lease_is_held_by_one(subject: Subject) -> None:
    first, take_first = subject.open()
    second, take_second = subject.open()
    lease = take_first("edgewright apply", NOW)
    with pytest.raises(LeaseHeld) as caught:
        take_second("edgewright serve", NOW + timedelta(seconds=59))
    assert "edgewright apply" in str(caught.value)
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", str(caught.value))
    with pytest.raises(StateError):
        second.set_last_revision("abc")
    lease.release()
    take_second("edgewright serve", NOW)
    second.set_last_revision("def")
    with pytest.raises(StateError):
        first.set_last_revision("abc")
    assert first.last_revision() == "def"


def test_a_lease_that_was_taken_over_writes_nothing_more(subject: Subject) -> None:
    first, take_first = subject.open()
    second, take_second = subject.open()
    lease = take_first("sleeper", NOW)
    first.set_last_revision("first")
    newer = take_second("successor", NOW + TTL)
    with pytest.raises(LeaseLost):
        first.set_last_revision("late")
    with pytest.raises(LeaseLost):
        first.record_reports([a_report("lane-1", 1)])
    with pytest.raises(LeaseLost):
        lease.renew()
    lease.release()
    second.set_last_revision("second")
    newer.renew()
    assert first.last_revision() == "second"
    assert first.reports() == {}


def test_a_renewed_lease_lasts_longer(subject: Subject) -> None:
    now = NOW
    _, take_first = subject.open()
    _, take_second = subject.open()
    lease = take_first("first", now)
    lease.renew()
    with pytest.raises(LeaseHeld):
        take_second("second", NOW + TTL - timedelta(seconds=5))


def test_what_comes_from_outside_needs_no_lease(subject: Subject) -> None:
    holder, take = subject.open()
    outside, _ = subject.open()
    take("edgewright apply", NOW)
    outside.enroll({"lane-1": {}})
    outside.record_reports([a_report("lane-1", 1)])
    outside.request_controls(ROLLOUT, Controls(aborted=True))
    outside.unenroll(["lane-1"])
    assert holder.requested_controls() == {ROLLOUT: Controls(aborted=True)}
    assert list(holder.reports()) == ["lane-1"]
    with pytest.raises(StateError, match="lease"):
        outside.add_events([Event(NOW, "X", "", "x")])
