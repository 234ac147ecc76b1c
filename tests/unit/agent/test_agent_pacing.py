"""How often a device asks: jitter, long-polls, servers that fail, and that nothing is ever hammered."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_agent.backoff import REPORT, Schedule
from edgewright_agent.errors import TransportError
from edgewright_agent.repository.pacing import BREATH, LONGEST_AFTER_FAILURE, Pace, PollAttempt, pause_after

INTERVAL = 60.0


def polled(*, changed: bool = False) -> PollAttempt:
    return PollAttempt(conditional=True, wait=0.0, took=0.1, changed=changed)


def test_polls_are_spread_by_a_fifth_either_way() -> None:
    assert [pause_after(polled(), INTERVAL, jitter) for jitter in (0.0, 0.5, 1.0)] == pytest.approx([48.0, 60.0, 72.0])
    assert pause_after(polled(changed=True), INTERVAL, 0.5) == 60.0


def test_a_server_that_waits_is_asked_again_at_once() -> None:
    waited = PollAttempt(conditional=True, wait=30.0, took=30.0, granted=30.0)
    changed = PollAttempt(conditional=True, wait=30.0, took=12.0, granted=30.0, changed=True)
    capped = PollAttempt(conditional=True, wait=30.0, took=10.0, granted=10.0)
    assert [pause_after(asked, INTERVAL, 0.5) for asked in (waited, changed, capped)] == [0.0, 0.0, 0.0]


def test_the_first_question_cannot_be_waited_for() -> None:
    first = PollAttempt(conditional=False, wait=30.0, took=0.25, granted=0.0, changed=True)
    assert pause_after(first, INTERVAL, 0.5) == BREATH - 0.25


def test_a_server_that_does_not_wait_is_polled() -> None:
    unsupported = PollAttempt(conditional=True, wait=30.0, took=0.01)
    early = PollAttempt(conditional=True, wait=30.0, took=0.01, granted=30.0)
    eager = PollAttempt(conditional=True, wait=30.0, took=0.01, changed=True)
    assert [pause_after(asked, INTERVAL, 0.5) for asked in (unsupported, early, eager)] == [INTERVAL] * 3


def test_failures_are_retried_more_and_more_rarely_and_as_the_server_asks() -> None:
    def failed(failures: int, retry_after: float = 0.0) -> float:
        asked = PollAttempt(conditional=True, wait=30.0, took=0.0, failures=failures, retry_after=retry_after)
        return pause_after(asked, INTERVAL, 0.5)

    assert [failed(count) for count in (1, 2, 3, 4)] == [5.0, 10.0, 20.0, 40.0]
    assert failed(50) == LONGEST_AFTER_FAILURE
    assert failed(1, retry_after=120.0) >= 120.0


@given(
    st.builds(
        PollAttempt,
        conditional=st.booleans(),
        wait=st.sampled_from([0.0, 30.0]),
        took=st.floats(0, 100),
        granted=st.sampled_from([0.0, 1.0, 30.0, 60.0]),
        changed=st.booleans(),
        failures=st.integers(0, 100),
        retry_after=st.floats(0, 86400),
    ),
    st.floats(1, 3600),
    st.floats(0, 1),
)
def test_two_requests_are_never_closer_than_a_breath(asked: PollAttempt, interval: float, jitter: float) -> None:
    pause = pause_after(asked, interval, jitter)
    assert pause >= 0
    if not asked.failures:
        assert asked.took + pause >= min(BREATH, 0.8 * interval) - 1e-9
    else:
        assert pause >= min(asked.retry_after, 0.5)


def test_a_new_pace_takes_effect_while_somebody_waits() -> None:
    pace, woken = Pace(3600.0), threading.Event()

    def wait() -> None:
        pace.wait(lambda: pace.seconds, time.monotonic, lambda: False)
        woken.set()

    threading.Thread(target=wait, daemon=True).start()
    assert not woken.wait(0.05)
    pace.heard({"Edgewright-Poll": "1"})
    assert woken.wait(10)


def test_a_pace_that_is_no_news_wakes_nobody() -> None:
    pace = Pace(30.0)
    pace.heard({"Edgewright-Poll": "30"})
    pace.heard({})
    asked: list[float] = []

    def seconds() -> float:
        asked.append(pace.seconds)
        return 0.0

    pace.wait(seconds, lambda: 0.0, lambda: False)
    assert asked == [30.0]


def test_backpressure_is_obeyed_and_those_who_were_sent_away_do_not_come_back_together() -> None:
    schedule = Schedule(first=1.0, longest=300.0, longest_poll=10.0)
    busy = TransportError("ServerBusy", "busy", retry_after=600.0)
    assert [schedule.failed(REPORT, busy, 0.0, jitter) for jitter in (0.0, 1.0)] == [600.0, 720.0]
    assert schedule.due(REPORT) == 720.0
