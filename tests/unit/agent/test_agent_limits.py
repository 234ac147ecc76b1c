"""When blobs may be fetched: bandwidth, and a window of the day."""

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_agent.limits import Bucket, FetchLimits, Window, parse_rate, parse_window

NIGHT, DAY = parse_window("22:00-06:00"), parse_window("09:30 - 17:00")


@pytest.mark.parametrize(
    ("text", "rate"),
    [("500KiB/s", 512_000.0), ("2MB/s", 2e6), ("1.5MiB/s", 1_572_864.0), ("64kB/s", 64_000.0), ("100 B/s", 100.0)],
)
def test_bandwidths_are_read(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["500", "500KiB", "0MB/s", "-1MB/s", "1Mbit/s", ""])
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="500KiB/s"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["22:00", "24:00-06:00", "22-6", "22:00-22:00", "9:30-17:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r":"):
        parse_window(text)


@pytest.mark.parametrize(
    ("window", "clock", "opens_in"),
    [
        (NIGHT, time(21, 59), 60.0),
        (NIGHT, time(22, 0), 0.0),
        (NIGHT, time(23, 59, 59), 0.0),
        (NIGHT, time(0, 0), 0.0),
        (NIGHT, time(5, 59, 59), 0.0),
        (NIGHT, time(6, 0), 16 * 3600.0),
        (DAY, time(9, 29, 59), 1.0),
        (DAY, time(9, 30), 0.0),
        (DAY, time(16, 59), 0.0),
        (DAY, time(17, 0), 16.5 * 3600.0),
    ],
)
def test_a_window_opens_and_closes(window: Window, clock: time, opens_in: float) -> None:
    assert window.opens_in(datetime.combine(datetime(2026, 3, 1), clock)) == opens_in


@given(st.times(), st.times(), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_a_window_is_open_when_it_says_it_opens(begins: time, ends: time, now: datetime) -> None:
    window = Window(begins.replace(microsecond=0), ends.replace(microsecond=0))
    if window.begins == window.ends:
        return
    wait = window.opens_in(now)
    assert 0.0 <= wait <= 86400.0
    assert window.opens_in(now + timedelta(seconds=wait)) == 0.0


@given(
    st.integers(1, 10_000_000),
    st.lists(st.integers(1, 65536), min_size=1, max_size=200),
)
def test_a_bucket_lets_no_more_through_than_its_rate_and_a_burst(rate: int, chunks: list[int]) -> None:
    limits, now, begun = FetchLimits(float(rate)), 1000.0, 1000.0
    local, taken = datetime(2026, 3, 1), 0
    for chunk in chunks:
        now = max(now, limits.due(now, local))
        assert taken <= rate * (now - begun + 1.0) + 65536 + 1
        limits.fetched(chunk, now)
        taken += chunk


def test_a_bucket_that_was_left_alone_is_not_fuller_than_full() -> None:
    bucket = Bucket(rate=1000.0, level=0.0, at=0.0).taken(0, 1e6)
    assert bucket.level == 1000.0


def test_a_clock_that_stands_still_fills_nothing() -> None:
    bucket = Bucket(1000.0, 1000.0, 5.0).taken(2000, 5.0)
    assert (bucket.level, bucket.due) == (-1000.0, 6.25)


def test_the_window_is_told_and_the_bandwidth_is_not() -> None:
    closed, open_ = datetime(2026, 3, 1, 12, 0), datetime(2026, 3, 1, 23, 0)
    limits = FetchLimits(window=NIGHT)
    refusal = limits.refusal(closed)
    assert refusal is not None
    assert refusal.reason == "OutsideWindow"
    assert "22:00-06:00" in refusal.message
    assert limits.refusal(open_) is None
    assert limits.due(50.0, closed) == 50.0 + 10 * 3600
    assert limits.due(50.0, open_) == 0.0
    assert FetchLimits(1.0).refusal(closed) is None
