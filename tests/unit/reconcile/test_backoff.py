"""Looks at a large fleet are spaced, and never so far apart that a report waits long."""

import pytest

from edgewright.reconcile.pacing import Pace


@pytest.mark.parametrize(("took", "rest"), [(0.001, 0.1), (0.08, 8.0), (3.0, 15.0)])
def test_a_look_waits_a_hundred_times_as_long_as_the_last_one_took(took: float, rest: float) -> None:
    now = 100.0
    pace = Pace(lambda: now)
    assert pace.due()
    with pace.looking():
        now += took
    now += rest - 0.01
    assert not pace.due()
    now += 0.02
    assert pace.due()
