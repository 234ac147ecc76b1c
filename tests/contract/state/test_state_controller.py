"""What a controller asks of every state store: what is new, how things stand, who was told, and history's pruning."""

from dataclasses import replace
from datetime import timedelta

import pytest

from edgewright.core.address import Address
from edgewright.errors import StateError
from edgewright.ports import Intent
from harness.state_stores import State, Subject
from samples.state_values import MODEL, NOW, ROLLOUT, a_report, an_event, conditions


def test_report_sequences_follow_the_newest_reports(state: State) -> None:
    state.record_reports([a_report("lane-2", 7), a_report("lane-1", 3)])
    state.record_reports([a_report("lane-1", 4), a_report("lane-2", 6)])
    assert state.report_sequences() == {"lane-1": 4, "lane-2": 7}


def test_the_accepted_revision_is_not_the_applied_one(state: State) -> None:
    state.set_last_revision("abc")
    state.accept_revision("def")
    state.accept_revision("0123")
    assert (state.last_revision(), state.accepted_revision()) == ("abc", "0123")


def test_conditions_come_back_as_they_were_set(state: State, subject: Subject) -> None:
    repository = Address("repository", "goods")
    state.set_conditions({ROLLOUT: conditions("Rolling", ready=False), repository: conditions("UpToDate")})
    found = subject.open()[0].conditions()
    assert [(address, tuple(found[address])) for address in found] == [
        (repository, conditions("UpToDate")),
        (ROLLOUT, conditions("Rolling", ready=False)),
    ]
    untimed = tuple(replace(condition, since=None) for condition in conditions("Fetched"))
    state.set_conditions({repository: untimed})
    assert {address: tuple(c) for address, c in state.conditions().items()} == {repository: untimed}


def test_events_are_read_on_from_a_cursor(state: State) -> None:
    state.add_events([an_event(1), an_event(2, ROLLOUT)])
    state.add_events([an_event(3)])
    assert list(state.events_after(0, limit=2)) == [(1, an_event(1)), (2, an_event(2, ROLLOUT))]
    assert list(state.events_after(2)) == [(3, an_event(3))]
    assert list(state.events_after(3)) == []
    assert state.last_event() == 3


def test_who_was_told_is_remembered_by_receiver(state: State) -> None:
    state.set_notified("mail", 3)
    state.set_notified("chat", 1)
    state.set_notified("chat", 9)
    assert state.notified() == {"chat": 9, "mail": 3}


def test_signals_count_and_need_no_lease(state: State, subject: Subject) -> None:
    stand_by, _ = subject.open()
    stand_by.signal("reconcile")
    stand_by.signal("fetch")
    state.signal("reconcile")
    assert state.signals() == {"fetch": 1, "reconcile": 2}


def test_what_a_controller_remembers_needs_the_lease(state: State, subject: Subject) -> None:
    stand_by, _ = subject.open()
    with pytest.raises(StateError, match="lease"):
        stand_by.accept_revision("abc")
    with pytest.raises(StateError, match="lease"):
        stand_by.set_conditions({})
    with pytest.raises(StateError, match="lease"):
        stand_by.set_notified("chat", 1)
    with pytest.raises(StateError, match="lease"):
        stand_by.prune_history(keep=1)


def test_pruning_keeps_the_newest_and_numbers_go_on(state: State) -> None:
    state.add_events([an_event(number) for number in range(1, 2501)])
    assert state.prune_history(keep=3000) == 0
    assert state.prune_history(keep=100) == 2400
    assert [number for number, _ in state.events_after(0, limit=1)] == [2401]
    assert state.prune_history(keep=0) == 100
    assert (list(state.events()), state.last_event()) == ([], 2500)
    state.add_events([an_event(2501)])
    assert list(state.events_after(2500)) == [(2501, an_event(2501))]


def test_pruning_keeps_what_a_receiver_was_not_told_of(state: State) -> None:
    state.add_events([an_event(number) for number in range(1, 11)])
    state.set_notified("chat", 9)
    state.set_notified("mail", 4)
    assert state.prune_history(keep=2) == 4
    assert [number for number, _ in state.events_after(0)] == [5, 6, 7, 8, 9, 10]
    state.set_notified("mail", 10)
    assert state.prune_history(keep=2) == 4
    assert [number for number, _ in state.events_after(0)] == [9, 10]


def test_pruning_takes_closed_intents_and_used_plans_of_forgotten_times(state: State) -> None:
    for minute in range(4):
        state.begin(Intent(f"open {minute}", "train", str(MODEL), {}, NOW + timedelta(minutes=minute)))
        state.use_plan(f"plan {minute}", NOW + timedelta(minutes=minute))
    state.begin(Intent("closed", "train", str(MODEL), {}, NOW))
    state.finish("closed", "done")
    state.add_events([an_event(number) for number in range(1, 4)])
    state.prune_history(keep=10)
    assert state.plan_used("plan 0") is not None, "no event was forgotten, so nothing is"
    state.prune_history(keep=2)
    assert [state.plan_used(f"plan {minute}") is None for minute in range(4)] == [True, True, False, False]
    assert [intent.name for intent in state.open_intents()] == ["open 0", "open 1", "open 2", "open 3"]
    version = state.version()
    state.finish("closed", "failed")
    assert state.version() == version, "it is gone"
