"""Journal, history, controls and the lease of a state store: what every one keeps."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls
from edgewright.errors import LeaseHeld, LeaseLost, StateError
from edgewright.ports import Event, Intent
from harness.state_stores import TTL, State, Subject
from samples.state_values import (
    MODEL,
    NOW,
    ROLLOUT,
    a_report,
    a_rollout,
    an_artifact,
    an_assignment,
    conditions,
    digest,
)


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
