"""Presence goes by the engine's clock: what devices say of theirs is shown, and decides nothing."""

from datetime import UTC, datetime, timedelta

import pytest

from edgewright.core.fleet.presence import ReceivedReport, clock_skew, last_seen, parse_report, received_at
from edgewright_wire.messages import Report

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def report(ahead: timedelta) -> Report:
    return Report(device="d", sequence=1, sent_at=NOW + ahead, agent_version="1")


@pytest.mark.parametrize("hours", [-2, 24, 24 * 27_000, -24 * 20_000])
def test_a_report_is_as_old_as_its_arrival(hours: float) -> None:
    stamped = ReceivedReport.stamp(report(timedelta(hours=hours)), NOW)
    assert last_seen(stamped, NOW + timedelta(minutes=3)) == NOW
    assert clock_skew(stamped) == timedelta(hours=hours)
    again = parse_report(stamped.model_dump_json(by_alias=True, exclude_none=True))
    assert (again, received_at(again)) == (stamped, NOW)


def test_a_report_that_an_earlier_version_stored_counts_by_its_own_time_unless_it_lies_in_the_future() -> None:
    assert last_seen(report(timedelta(hours=-2)), NOW) == NOW - timedelta(hours=2)
    assert last_seen(report(timedelta(minutes=1)), NOW) == NOW
    assert last_seen(report(timedelta(days=1)), NOW) is None


def test_a_device_cannot_say_when_its_report_arrived() -> None:
    body = report(timedelta(0)).model_dump_json(by_alias=True)[:-1] + ',"receivedAt":"2099-01-01T00:00:00Z"}'
    assert not hasattr(Report.from_bytes(body.encode()), "received_at")


def test_a_few_seconds_are_no_skew() -> None:
    assert clock_skew(ReceivedReport.stamp(report(timedelta(seconds=40)), NOW)) == timedelta(0)
