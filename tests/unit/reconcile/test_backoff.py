"""Polls of a large fleet are throttled, but never so much that a report waits long."""

import pytest

from edgewright.reconcile.backoff import PollThrottle


@pytest.mark.parametrize(("took", "rest"), [(0.001, 0.1), (0.08, 8.0), (3.0, 15.0)])
def test_a_poll_waits_a_hundred_times_as_long_as_the_last_one_took(took: float, rest: float) -> None:
    now = 100.0
    throttle = PollThrottle(lambda: now)
    assert throttle.due()
    with throttle.measure():
        now += took
    now += rest - 0.01
    assert not throttle.due()
    now += 0.02
    assert throttle.due()
