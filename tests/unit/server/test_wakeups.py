"""Waking one loop from many threads and one waits for, and the heartbeats of the controller's loops."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.controller.health import Check, Heartbeats, ProcessHealth, Readiness, Role
from edgewright.controller.wakeups import MOST_NUMBERS, Debouncer, DebounceWindow, Wakeup
from edgewright.server.hooks.webhooks import Hook

SHORT = 0.02
LONG = 30.0


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_it_settles_a_moment_after_the_last_ring() -> None:
    settling = DebounceWindow(quiet=0.2, most=2.0)
    assert settling.remaining(10.0, 10.0, 10.0) == pytest.approx(0.2)
    assert settling.remaining(10.0, 11.0, 11.1) == pytest.approx(0.1)
    assert settling.remaining(10.0, 11.0, 11.3) == 0


def test_ringing_without_end_is_answered_in_time() -> None:
    settling = DebounceWindow(quiet=0.2, most=2.0)
    assert settling.remaining(10.0, 11.95, 11.95) == pytest.approx(0.05)
    assert settling.remaining(10.0, 12.0, 12.0) == 0


@given(st.floats(0, 1e6), st.floats(0, 5), st.floats(0, 5), st.floats(0, 5))
def test_it_never_waits_longer_than_it_may(first: float, until_last: float, quiet: float, most: float) -> None:
    last = first + until_last
    left = DebounceWindow(quiet, most).remaining(first, last, last)
    assert 0 <= left <= quiet + 1e-6
    assert last + left <= max(last, first + most) + 1e-6


def test_rings_that_came_while_nobody_waited_are_not_lost() -> None:
    clock = Clock()
    debouncer = Debouncer(clock=clock)
    debouncer.trigger(3)
    debouncer.trigger(4, 3)
    debouncer.trigger()
    clock.now += 60
    assert debouncer.wait(0) == Wakeup(3, frozenset({3, 4}))
    assert debouncer.wait(0) is None


def test_a_silent_bell_lets_go_after_the_timeout() -> None:
    assert Debouncer().wait(0.001) is None


def test_it_is_one_wake_up_however_many_ring() -> None:
    debouncer = Debouncer(quiet=SHORT)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(debouncer.trigger, range(200)))
    seen = Wakeup(0, frozenset())
    while seen.count < 200:
        wakeup = debouncer.wait(LONG)
        assert wakeup is not None
        seen = Wakeup(seen.count + wakeup.count, seen.numbers | wakeup.numbers)
    assert seen.numbers == frozenset(range(200))
    assert debouncer.wait(0) is None


def test_it_wakes_who_already_waits() -> None:
    debouncer = Debouncer(quiet=0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(debouncer.wait, LONG)
        debouncer.trigger(9)
        assert waiting.result(LONG) == Wakeup(1, frozenset({9}))


def test_a_flood_of_numbers_is_bounded_and_says_so() -> None:
    clock = Clock()
    debouncer = Debouncer(clock=clock)
    debouncer.trigger(*range(5 * MOST_NUMBERS))
    debouncer.trigger(0)
    clock.now += 60
    wakeup = debouncer.wait(0)
    assert wakeup is not None
    assert (len(wakeup.numbers), wakeup.overflowed) == (MOST_NUMBERS, True)
    debouncer.trigger(1)
    clock.now += 60
    assert debouncer.wait(0) == Wakeup(1, frozenset({1}))


@pytest.mark.parametrize("wakeup", [False, True])
def test_closing_lets_go_at_once(wakeup: bool) -> None:
    debouncer = Debouncer(quiet=3600, most=3600)
    if wakeup:
        debouncer.trigger()
    outcome: list[Wakeup | None] = []
    waiting = threading.Thread(target=lambda: outcome.append(debouncer.wait(None)))
    waiting.start()
    debouncer.close()
    waiting.join(LONG)
    assert not waiting.is_alive()
    assert outcome == [None]
    assert debouncer.wait(None) is None


def test_a_signal_handler_may_close_it() -> None:
    debouncer = Debouncer(quiet=3600, most=3600)
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: debouncer.close())
    ring = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
    try:
        debouncer.trigger()
        ring.start()
        assert debouncer.wait(None) is None
    finally:
        ring.join(LONG)
        signal.signal(signal.SIGUSR1, before)


def test_hooks_ring_for_their_pull_request_and_pings_do_not_ring() -> None:
    clock = Clock()
    debouncer = Debouncer(clock=clock)
    debouncer.notify(Hook("ping", "github"))
    debouncer.notify(Hook("other", "github"))
    assert debouncer.wait(0) is None
    debouncer.notify(Hook("push", "github", ref="refs/heads/main"))
    debouncer.notify(Hook("pull_request", "github", number=7))
    clock.now += 60
    assert debouncer.wait(0) == Wakeup(2, frozenset({7}))


def test_a_loop_that_stops_moving_is_found() -> None:
    clock = Clock()
    hearts = Heartbeats(clock)
    hearts.expect("fetch", timedelta(seconds=60))
    hearts.expect("apply", timedelta(hours=1))
    hearts.beat("unknown")
    clock.now += 59
    hearts.beat("fetch")
    clock.now += 60
    assert hearts.alive() == (Check("fetch", True), Check("apply", True))
    clock.now += 1
    fetch, apply = hearts.alive()
    assert (fetch.ok, apply.ok) == (False, True)
    assert "61 s" in fetch.message and "60 s" in fetch.message
    hearts.beat("fetch")
    assert all(check.ok for check in hearts.alive())
    hearts.forget("fetch")
    assert hearts.alive() == (Check("apply", True),)


@pytest.mark.parametrize(
    ("role", "ok"), [("starting", False), ("active", True), ("standby", True), ("stopping", False)]
)
def test_a_standby_is_ready(role: Role, ok: bool) -> None:
    health = ProcessHealth()
    health.role = role
    health.report("state", True)
    assert health.ready() == Readiness(role, (Check("state", True),))
    assert health.ready().ok is ok


def test_a_check_holds_until_it_is_reported_again() -> None:
    health = ProcessHealth(role="active")
    health.report("git", False, "not reached for 5 m")
    assert not health.ready().ok
    health.report("git", True)
    assert health.ready().ok
