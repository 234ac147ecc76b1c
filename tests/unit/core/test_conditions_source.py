"""How the repository stands, what of a change is news, and conditions of many resources at once."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.address import Address
from edgewright.core.planning.plan import Note, Plan, Prune, Step, Train
from edgewright.core.rollout.state import Phase, RolloutSummary
from edgewright.core.status.conditions import Condition, check, conditions_of, conditions_of_all, headline
from edgewright.core.status.source import (
    SourceReason,
    SourceStatus,
    repository_address,
    repository_conditions,
    transitions,
)

NOW = datetime(2026, 3, 2, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
OLD, NEW = "a" * 40, "b" * 40
ADDRESSES = [Address(kind, name) for kind in ("model", "rollout", "dataset") for name in ("one", "two")]
REPOSITORY = repository_address("shop")

notes = st.builds(
    Note,
    address=st.sampled_from(ADDRESSES),
    severity=st.sampled_from(["blocked", "waiting", "warning", "info"]),
    reason=st.sampled_from(["GateFailed", "ModelBlocked", "Suspended", "SourceMoved"]),
    message=st.text(max_size=5),
)
steps: st.SearchStrategy[Step] = st.sampled_from(ADDRESSES).flatmap(
    lambda address: st.sampled_from([Train(address=address, fingerprint=None, epochs=3), Prune(address=address)])
)
plans = st.builds(
    lambda notes, steps: Plan("commit", "observed", "id", tuple(steps), tuple(notes)),
    st.lists(notes, max_size=6),
    st.lists(steps, max_size=4),
)
rollouts = st.dictionaries(
    st.sampled_from(ADDRESSES),
    st.builds(
        lambda phase, reason: RolloutSummary(phase, None, "key", 0, {}, "", (), reason),
        st.sampled_from(Phase),
        st.sampled_from(["", "OutsideWindow"]),
    ),
)


@given(first=plans, second=plans, before=rollouts, after=rollouts)
def test_conditions_of_all_hold_the_rules_whatever_happens(
    first: Plan, second: Plan, before: Mapping[Address, RolloutSummary], after: Mapping[Address, RolloutSummary]
) -> None:
    known = conditions_of_all(ADDRESSES, first, before, revision=OLD, now=NOW)
    found = conditions_of_all(ADDRESSES, second, after, revision=NEW, now=LATER, before=known)
    assert list(found) == ADDRESSES
    for address, conditions in found.items():
        assert check(conditions) == ()
        assert {condition.observed_revision for condition in conditions} == {NEW}
        one = conditions_of(address, second, after.get(address), revision=NEW, now=LATER, before=known[address])
        assert conditions == one
        busy = any(step.address == address for step in second.steps)
        blocked = any(note.address == address and note.severity == "blocked" for note in second.notes)
        if busy or blocked:
            assert conditions[0].status == "False"
        for was, is_ in zip(known[address], conditions, strict=True):
            assert is_.since == (was.since if was.status == is_.status else LATER)


@given(first=plans, second=plans)
def test_an_event_for_each_headline_that_changed_and_no_other(first: Plan, second: Plan) -> None:
    before = conditions_of_all(ADDRESSES, first, {}, revision=OLD, now=NOW)
    after = conditions_of_all(ADDRESSES, second, {}, revision=NEW, now=LATER, before=before)
    told = {event.address: event for event in transitions(before, after, LATER, NEW)}
    for address in ADDRESSES:
        was, is_ = headline(before[address]), headline(after[address])
        assert was is not None and is_ is not None
        news = was.type != is_.type or (is_.type == "Stalled" and was.reason != is_.reason)
        assert (str(address) in told) == news
        if news:
            event = told[str(address)]
            assert (event.reason, event.message, event.revision) == (is_.reason, is_.message, NEW)
            assert event.data == {"from": was.type, "to": is_.type}


def test_a_message_that_changes_is_no_news() -> None:
    def waiting(left: str) -> dict[Address, tuple[Condition, ...]]:
        note = Note(ADDRESSES[0], "waiting", "Soaking", left)
        return conditions_of_all(ADDRESSES[:1], Plan("c", "o", "i", (), (note,)), {}, revision=OLD, now=NOW)

    assert transitions(waiting("10 min left"), waiting("9 min left"), LATER, OLD) == []


def test_the_first_look_tells_only_of_what_is_stalled() -> None:
    plan = Plan("c", "o", "i", (), (Note(ADDRESSES[0], "blocked", "GateFailed", "accuracy 0.5"),))
    after = conditions_of_all(ADDRESSES, plan, {}, revision=OLD, now=NOW)
    assert [event.address for event in transitions({}, after, NOW, OLD)] == [str(ADDRESSES[0])]
    assert transitions(after, {}, NOW, OLD) == []


@pytest.mark.parametrize("reason", get_args(SourceReason))
@pytest.mark.parametrize("in_force", [None, OLD])
def test_the_repository_always_says_what_is_in_force(reason: SourceReason, in_force: str | None) -> None:
    found = repository_conditions(SourceStatus(in_force, NEW, reason, "look here"), now=NOW)
    assert check(found) == ()
    shown = headline(found)
    assert shown is not None
    assert shown.observed_revision == (in_force or "")
    assert ("aaaaaaaaaaaa is in force" if in_force else "no revision is in force yet") in shown.message
    assert "bbbbbbbbbbbb" in shown.message
    assert "look here" in shown.message


@pytest.mark.parametrize(
    ("standing", "expected", "words"),
    [
        (SourceStatus(OLD), ("Ready", "UpToDate"), "aaaaaaaaaaaa is in force"),
        (SourceStatus(None), ("Reconciling", "Fetching"), "no revision"),
        (SourceStatus(OLD, NEW, "Progressing"), ("Reconciling", "Progressing"), "bbbbbbbbbbbb is being taken up"),
        (SourceStatus(OLD, OLD, "HistoryRewritten"), ("Ready", "HistoryRewritten"), "is in force"),
        (SourceStatus(OLD, NEW, "SignatureMissing"), ("Stalled", "SignatureMissing"), "bbbbbbbbbbbb is refused"),
        (SourceStatus(OLD, NEW, "SpecInvalid"), ("Stalled", "SpecInvalid"), "bbbbbbbbbbbb is refused"),
        (SourceStatus(None, None, "RefMissing", "no branch main"), ("Stalled", "RefMissing"), "no branch main"),
        (
            SourceStatus(OLD, None, "SourceUnavailable", "timed out", fetched_at=NOW),
            ("Reconciling", "SourceUnavailable"),
            "it answered last at 2026-03-02 00:00:00 UTC",
        ),
    ],
)
def test_how_the_repository_stands(standing: SourceStatus, expected: tuple[str, str], words: str) -> None:
    shown = headline(repository_conditions(standing, now=NOW))
    assert shown is not None
    assert (shown.type, shown.reason) == expected
    assert words in shown.message


def test_the_repository_is_refused_and_recovers() -> None:
    fine = repository_conditions(SourceStatus(OLD), now=NOW)
    refused = repository_conditions(SourceStatus(OLD, NEW, "SignatureBad"), now=LATER, before=fine)
    other = repository_conditions(SourceStatus(OLD, NEW, "SpecInvalid"), now=LATER, before=refused)
    after = repository_conditions(SourceStatus(NEW), now=LATER + timedelta(hours=1), before=other)

    def news(before: Sequence[Condition], after: Sequence[Condition]) -> list[tuple[str, str, str]]:
        found = transitions({REPOSITORY: before}, {REPOSITORY: after}, LATER, OLD)
        return [(event.reason, event.data["from"], event.data["to"]) for event in found]

    assert news(fine, refused) == [("SignatureBad", "Ready", "Stalled")]
    assert news(refused, other) == [("SpecInvalid", "Stalled", "Stalled")]
    assert news(other, after) == [("UpToDate", "Stalled", "Ready")]
    stalled = {c.type: c.since for c in other}
    assert stalled == {"Ready": LATER, "Stalled": LATER, "Reconciling": NOW}
