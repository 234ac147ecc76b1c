"""Waits that end in time also when somebody sets the clock back."""

import threading
from datetime import UTC, datetime, timedelta

from edgewright.controller.health import ProcessHealth
from edgewright.controller.loops import Loop
from edgewright.reconcile.backoff import Backoff, Deadline

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PATIENCE = 30.0


class Clocks:
    """A clock that may jump, and seconds that only count on."""

    def __init__(self) -> None:
        self.now = NOW
        self.seconds = 0.0

    def clock(self) -> datetime:
        return self.now


def test_a_wait_is_never_longer_than_it_was_when_it_began() -> None:
    clocks = Clocks()
    deadline = Deadline(NOW + timedelta(minutes=1), clocks.clock, lambda: clocks.seconds)
    assert deadline.left() == 60
    clocks.now -= DAY
    clocks.seconds += 50
    assert deadline.left() == 10
    clocks.seconds += 10
    assert deadline.left() == 0


def test_a_wait_ends_when_the_clock_has_passed_it() -> None:
    clocks = Clocks()
    deadline = Deadline(NOW + timedelta(minutes=1), clocks.clock, lambda: clocks.seconds)
    clocks.now += DAY
    assert deadline.left() < 0


def test_a_back_off_does_not_wait_until_a_clock_that_was_set_back_has_caught_up() -> None:
    clocks = Clocks()
    backoff = Backoff(clocks.clock, lambda: 0.0)
    backoff.failed("git")
    assert backoff.is_waiting("git")
    assert backoff.next() == backoff.until("git")
    clocks.now -= DAY
    assert not backoff.is_waiting("git")
    assert backoff.next() is None


def test_a_loop_goes_on_after_the_clock_was_set_back() -> None:
    clocks, worked = Clocks(), threading.Semaphore(0)

    class Polling(Loop):
        def work(self) -> datetime:
            worked.release()
            return clocks.now + timedelta(seconds=0.2)

    loop = Polling("polling", ProcessHealth(), clocks.clock)
    loop.start()
    try:
        assert worked.acquire(timeout=PATIENCE)
        clocks.now -= DAY
        assert worked.acquire(timeout=PATIENCE)
    finally:
        loop.stop()
