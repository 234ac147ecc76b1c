"""Maintenance windows across days, time zones and changes of the clocks."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.rollout.windows import in_window
from edgewright_schemas.rollout import Window


def window(**fields: Any) -> Window:
    return Window.model_validate({"cron": "0 22 * * *", "duration": "6h", "timeZone": "Europe/Paris", **fields})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "is_open", "until"),
    [
        ("2026-01-10T20:59:59", False, "2026-01-10T21:00"),
        ("2026-01-10T21:00:00", True, "2026-01-11T03:00"),
        ("2026-01-11T02:59:59", True, "2026-01-11T03:00"),
        ("2026-01-11T03:00:00", False, "2026-01-11T21:00"),
        ("2026-03-28T23:00:00", True, "2026-03-29T03:00"),  # the clocks go forward inside
        ("2026-03-29T03:00:00", False, "2026-03-29T20:00"),  # and the next one opens an hour earlier
        ("2026-10-25T01:30:00", True, "2026-10-25T02:00"),  # the clocks go back inside
        ("2026-10-25T02:00:00", False, "2026-10-25T21:00"),
    ],
)
def test_a_window_opens_in_its_time_zone_for_its_duration(now: str, is_open: bool, until: str) -> None:
    assert in_window(window(), at(now)) == (is_open, at(until))


def test_a_window_that_opens_in_a_missing_or_repeated_hour() -> None:
    early = window(cron="30 2 * * *", duration="1h")
    assert in_window(early, at("2026-03-29T01:10:00")).open  # 02:30 does not exist: it opens at 03:00
    assert in_window(early, at("2026-10-25T01:29:00")) == (True, at("2026-10-25T01:30"))


def test_a_window_that_never_opens_says_so() -> None:
    assert in_window(window(cron="0 0 31 2 *"), at("2026-01-01T00:00:00")) == (False, None)


@given(
    now=st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),
    cron=st.sampled_from(["0 22 * * *", "*/7 3 * * 1-5", "30 2 29 2 *", "0 0 1 * *"]),
    duration=st.sampled_from(["1m", "3h", "26h"]),
    zone=st.sampled_from(["UTC", "Europe/Paris", "Australia/Lord_Howe", "America/St_Johns"]),
)
def test_what_is_said_of_the_next_change_is_true(now: datetime, cron: str, duration: str, zone: str) -> None:
    chosen = window(cron=cron, duration=duration, timeZone=zone)
    found = in_window(chosen, now)
    assert found.until is not None
    assert found.until > now
    assert found.until.utcoffset() == UTC.utcoffset(None)
    if not found.open:
        assert in_window(chosen, found.until).open
