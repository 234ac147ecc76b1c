"""Conditions: what status says of a resource, and what must be true of it always."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.address import Address
from edgewright.core.planning.plan import Note, Plan, Prune, Train
from edgewright.core.rollout.state import Phase, RolloutSummary
from edgewright.core.status.conditions import Condition, check, conditions_of

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MODEL = Address("model", "reader")
OTHER = Address("model", "other")


def plan(*, notes: tuple[Note, ...] = (), steps: tuple[Train | Prune, ...] = ()) -> Plan:
    return Plan("commit", "observed", "id", steps, notes)


def summary(phase: Phase, reason: str = "", message: str = "") -> RolloutSummary:
    return RolloutSummary(phase, None, "key", 0, {}, "", (), reason, message)


def true_of(found: tuple[Condition, ...]) -> tuple[str, str]:
    holding = [condition for condition in found if condition.status == "True"]
    assert len(holding) == 1
    return holding[0].type, holding[0].reason


TRAIN = Train(address=MODEL, fingerprint=None, epochs=3)


@pytest.mark.parametrize(
    ("found", "rollout", "expected"),
    [
        (plan(), None, ("Ready", "UpToDate")),
        (plan(steps=(TRAIN,)), None, ("Reconciling", "Planned")),
        (plan(notes=(Note(MODEL, "blocked", "GateFailed", "no"),)), None, ("Stalled", "GateFailed")),
        (plan(notes=(Note(MODEL, "blocked", "GateFailed", "no"),), steps=(TRAIN,)), None, ("Stalled", "GateFailed")),
        (plan(notes=(Note(MODEL, "waiting", "Suspended", "…"),)), None, ("Reconciling", "Suspended")),
        (plan(notes=(Note(MODEL, "info", "ModelBlocked", "…"),)), None, ("Stalled", "ModelBlocked")),
        (plan(notes=(Note(MODEL, "warning", "SourceMoved", "…"),)), None, ("Ready", "UpToDate")),
        (plan(notes=(Note(OTHER, "blocked", "GateFailed", "no"),)), None, ("Ready", "UpToDate")),
        (plan(), summary(Phase.SUCCEEDED), ("Ready", "Succeeded")),
        (plan(), summary(Phase.ROLLING), ("Reconciling", "Rolling")),
        (plan(), summary(Phase.AWAITING_APPROVAL), ("Reconciling", "AwaitingApproval")),
        (plan(), summary(Phase.WAITING, "OutsideWindow"), ("Reconciling", "OutsideWindow")),
        (plan(), summary(Phase.FAILED, "DevicesFailed"), ("Stalled", "RolloutFailed")),
        (plan(steps=(TRAIN,)), summary(Phase.FAILED), ("Reconciling", "Planned")),
    ],
)
def test_a_resource_is_ready_reconciling_or_stalled(
    found: Plan, rollout: RolloutSummary | None, expected: tuple[str, str]
) -> None:
    conditions = conditions_of(MODEL, found, rollout, revision="abc", now=NOW)
    assert true_of(conditions) == expected
    assert {condition.observed_revision for condition in conditions} == {"abc"}


def test_since_is_kept_while_the_status_is() -> None:
    first = conditions_of(MODEL, plan(steps=(TRAIN,)), None, revision="", now=NOW)
    later = NOW + timedelta(hours=1)
    second = conditions_of(MODEL, plan(), None, revision="", now=later, before=first)
    assert {condition.type: condition.since for condition in second} == {
        "Ready": later,
        "Reconciling": later,
        "Stalled": NOW,
    }


@given(
    notes=st.lists(
        st.builds(
            Note,
            address=st.sampled_from([MODEL, OTHER]),
            severity=st.sampled_from(["blocked", "waiting", "warning", "info"]),
            reason=st.sampled_from(["GateFailed", "ModelBlocked", "Suspended"]),
            message=st.text(max_size=5),
        ),
        max_size=4,
    ),
    steps=st.lists(st.sampled_from([TRAIN, Prune(address=MODEL), Prune(address=OTHER)]), max_size=2),
    rollout=st.none() | st.sampled_from([summary(phase) for phase in Phase]),
)
def test_the_rules_hold_whatever_the_plan_says(
    notes: list[Note], steps: list[Train | Prune], rollout: RolloutSummary | None
) -> None:
    found = conditions_of(MODEL, plan(notes=tuple(notes), steps=tuple(steps)), rollout, revision="", now=NOW)
    assert check(found) == ()
    if any(note.address == MODEL and note.severity == "blocked" for note in notes):
        assert true_of(found)[0] == "Stalled"


def test_broken_rules_are_named() -> None:
    ready = Condition("Ready", "True", "Fine", "", "")
    busy = Condition("Reconciling", "True", "Busy", "", "")
    stuck = Condition("Stalled", "True", "not a word", "", "")
    assert len(check((ready, busy, stuck))) == 4
    assert check((ready,)) == ("Reconciling is there 0 times", "Stalled is there 0 times")
    idle = Condition("Reconciling", "False", "", "", "")
    assert check((ready, idle, Condition("Stalled", "False", "Fine", "", ""))) == (
        "Reconciling's reason '' is not one word in CamelCase",
    )
