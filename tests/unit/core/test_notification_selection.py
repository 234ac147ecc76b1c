"""Which events become notices: filters, limits, and nothing lost silently."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.status.events import Event
from edgewright.core.status.notifications import (
    LEFT_OUT,
    Bucket,
    Notification,
    consider,
    opens_at,
    overdue,
    select,
    severity_of,
    wanted,
)
from edgewright_schemas.notifications import NotificationReceiver

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SINK = {"slack": {"url": {"secret": "chat"}}}


def receiver(**fields: object) -> NotificationReceiver:
    return NotificationReceiver.model_validate({"name": "ops", **SINK, **fields})


def event(reason: str = "StepFailed", address: str = "model/reader", message: str = "no", **data: str) -> Event:
    return Event(NOW, reason, address, message, data, "abc")


@pytest.mark.parametrize(
    ("fields", "of", "expected"),
    [
        ({}, event(), True),
        ({}, event("StepDone"), False),
        ({}, event("SourceMoved"), True),
        ({"severity": "error"}, event("SourceMoved"), False),
        ({"severity": "info"}, event("StepDone"), True),
        ({"kinds": ["Rollout"]}, event(), False),
        ({"kinds": ["Rollout", "Model"]}, event(), True),
        ({"reasons": ["GateFailed"]}, event(), False),
        ({"reasons": ["StepFailed"]}, event(), True),
        ({}, event("NobodyKnowsThis"), True),
        ({"severity": "error"}, event("UpToDate", **{"from": "Stalled", "to": "Ready"}), True),
        ({}, event("UpToDate", **{"from": "Reconciling", "to": "Ready"}), False),
    ],
)
def test_who_is_told_of_what(fields: dict[str, object], of: Event, expected: bool) -> None:
    assert wanted(receiver(**fields), of) is expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (event("GateFailed"), "error"),
        (event("DeviceFailed"), "warning"),
        (event("WavePassed"), "info"),
        (event("NobodyKnowsThis"), "warning"),
        (event("NobodyKnowsThis", to="Stalled"), "error"),
        (event("SourceUnavailable", to="Ready"), "info"),
    ],
)
def test_how_bad_an_event_is(of: Event, expected: str) -> None:
    assert severity_of(of) == expected


@given(
    count=st.integers(1, 4),
    per=st.integers(1, 60),
    moments=st.lists(st.integers(0, 300), max_size=40).map(sorted),
    looks=st.lists(st.integers(0, 400), max_size=20),
)
def test_never_more_than_the_limit_and_nothing_lost(count: int, per: int, moments: list[int], looks: list[int]) -> None:
    spec = receiver(limit={"count": count, "per": f"{per}s"})
    sent: list[tuple[int, Notification]] = []
    bucket = Bucket()
    happened = 0
    agenda = sorted([(at, False) for at in moments] + [(at, True) for at in looks])
    for at, is_look in agenda:
        now = NOW + timedelta(seconds=at)
        if is_look:
            notice, bucket = overdue(spec, now, bucket)
        else:
            happened += 1
            notice, bucket = consider(spec, happened, event(message=str(happened)), now, bucket)
        if notice is not None:
            sent.append((at, notice))
        told = sum(1 for _, one in sent if one.reason != LEFT_OUT)
        assert told + sum(one.suppressed for _, one in sent) + bucket.suppressed == happened
        opens = opens_at(spec.limit, bucket)
        if opens is not None:
            last, emptied = overdue(spec, opens, bucket)
            assert last is not None
            assert (last.suppressed, emptied.suppressed) == (bucket.suppressed, 0)
            assert overdue(spec, opens - timedelta(microseconds=1), bucket)[0] is None
    for at, _ in sent:
        assert sum(1 for other, _ in sent if at <= other < at + per) <= count
    assert len({one.id for _, one in sent}) == len(sent)


def test_the_count_travels_with_the_next_notice() -> None:
    spec = receiver(limit={"count": 1, "per": "10m"})
    events = [(number, event(message=str(number))) for number in (1, 2, 3)]
    first, bucket = select(spec, events, NOW, Bucket())
    assert [notice.message for notice in first] == ["1"]
    later, bucket = select(spec, [(4, event(message="4"))], NOW + timedelta(minutes=10), bucket)
    assert [(notice.message, notice.suppressed) for notice in later] == [("4", 2)]
    assert not bucket.suppressed


def test_a_step_that_fails_and_the_resource_that_stalls_are_one_notice() -> None:
    stalled = event("StepFailed", message="train failed: no", **{"from": "Reconciling", "to": "Stalled"})
    both, _ = select(
        receiver(), [(1, event("StepFailed", message="train model/reader: no")), (2, stalled)], NOW, Bucket()
    )
    assert len(both) == 1
    again = [(1, stalled), (2, event("GateFailed")), (3, stalled), (4, event(address="model/other"))]
    assert len(select(receiver(), again, NOW, Bucket())[0]) == 4


def test_an_id_is_the_same_when_a_notice_is_made_again() -> None:
    one, _ = consider(receiver(), 7, event(), NOW, Bucket())
    again, _ = consider(receiver(), 7, event(), NOW + timedelta(hours=1), Bucket(suppressed=3))
    other, _ = consider(receiver(), 8, event(), NOW, Bucket())
    assert one is not None and again is not None and other is not None
    assert one.id == again.id != other.id
    elsewhere, _ = consider(receiver(), 7, event(), NOW, Bucket(), environment="production")
    assert elsewhere is not None and elsewhere.id != one.id and elsewhere.environment == "production"
