"""The lease between real processes, and its renewal."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import update

from edgewright.errors import LeaseHeld, LeaseLost, StateError
from edgewright.state.lease import acquire, wait_for_lease
from edgewright.state.processes import is_dead, this_process
from edgewright.state.schema import control
from edgewright.state.store import SqlState
from harness.children import child, heard, tell
from samples.state_values import NOW

COMPETE = """
import sys
from datetime import timedelta
from edgewright.errors import LeaseHeld
from edgewright.state.lease import acquire
from edgewright.state.store import SqlState
state = SqlState(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    lease = acquire(state, "edgewright apply", timedelta(hours=1))
    print("won", lease.fence, flush=True)
    state.set_last_revision("by the winner")
except LeaseHeld as error:
    print("lost:", error.message, flush=True)
sys.stdin.readline()
"""


FULL = """
import logging, resource, sys
from datetime import UTC, datetime, timedelta
from threading import Event
from edgewright.state.lease import wait_for_lease
from edgewright.state.store import SqlState

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

class Room(logging.Handler):
    def emit(self, record):
        print(record.getMessage(), flush=True)
        limit(resource.RLIM_INFINITY)

logging.getLogger("edgewright").addHandler(Room())
state = SqlState(sys.argv[1])
state.enroll({"lane-0": {}})
limit(1)
lease = wait_for_lease(state, "us", timedelta(seconds=0.1), lambda: datetime.now(UTC), Event())
print("fence", lease.fence)
"""
"""A disk that has room again as soon as somebody is told that it has none."""


def test_of_competing_processes_exactly_one_wins_and_its_death_frees_the_lease(tmp_path: Path) -> None:
    file = tmp_path / ".edgewright" / "state.db"  # not there yet: they race to make it, too
    with ExitStack() as stack:
        processes = [stack.enter_context(child(COMPETE, file)) for _ in range(3)]
        assert [heard(process) for process in processes] == ["ready"] * 3
        for process in processes:
            tell(process, "go")
        said = {process: heard(process) for process in processes}
        winners = [process for process, line in said.items() if line == "won 1"]
        losers = [line for line in said.values() if line.startswith("lost: the state is in use by edgewright apply")]
        assert (len(winners), len(losers)) == (1, 2), said
        assert all(f"process {winners[0].pid} on " in line for line in losers)

        state = stack.enter_context(SqlState(file))
        with pytest.raises(LeaseHeld):
            acquire(state, "us", timedelta(minutes=1))
        winners[0].kill()
        winners[0].wait()
        lease = acquire(state, "us", timedelta(minutes=1))
        assert lease.fence == 2
        assert state.last_revision() in {"by the winner", None}
        lease.release()


def test_a_process_elsewhere_is_not_thought_dead(tmp_path: Path) -> None:
    with SqlState(tmp_path / "state.db") as state:
        acquire(state, "elsewhere", timedelta(minutes=1), lambda: NOW)
        with state.transaction() as connection:
            connection.execute(update(control).values(host="another-host", pid=2**22 + 1))
        with pytest.raises(LeaseHeld, match="another-host"):
            acquire(state, "us", timedelta(minutes=1), lambda: NOW + timedelta(seconds=59))
        acquire(state, "us", timedelta(minutes=1), lambda: NOW + timedelta(seconds=60))


def test_a_process_number_used_again_is_another_process() -> None:
    me = this_process()
    assert not is_dead(me)
    assert is_dead(replace(me, started="1"))
    assert is_dead(replace(me, pid=2**22 + 1))
    assert not is_dead(replace(me, started="1", machine="another boot"))


def test_the_lease_renews_itself_while_it_is_held(tmp_path: Path) -> None:
    now = [NOW]
    renewed = Event()

    def clock() -> datetime:
        if now[0] > NOW:
            renewed.set()
        return now[0]

    ttl = timedelta(seconds=0.06)
    with SqlState(tmp_path / "state.db") as state, SqlState(tmp_path / "state.db") as other:
        lease = acquire(state, "us", ttl, clock)
        with lease:
            now[0] = NOW + timedelta(hours=1)
            assert renewed.wait(10)
            renewed.clear()
            assert renewed.wait(10), "the renewal before this one is stored now"
            with pytest.raises(LeaseHeld):
                acquire(other, "them", ttl, lambda: NOW + timedelta(hours=1))
        acquire(other, "them", ttl, lambda: NOW + timedelta(hours=1))


def test_losing_the_lease_is_noticed_by_the_renewing_thread(tmp_path: Path) -> None:
    with SqlState(tmp_path / "state.db") as state, SqlState(tmp_path / "state.db") as other:
        lease = acquire(state, "us", timedelta(seconds=0.3), lambda: NOW)
        with lease:
            acquire(other, "them", timedelta(hours=1), lambda: NOW + timedelta(hours=1))
            assert lease.lost.wait(10)
            with pytest.raises(LeaseLost):
                state.set_last_revision("late")
        other.set_last_revision("theirs")
        assert state.last_revision() == "theirs"


def test_the_system_clock_is_in_utc(tmp_path: Path) -> None:
    with SqlState(tmp_path / "state.db") as state:
        acquire(state, "us", timedelta(minutes=1))
        with pytest.raises(LeaseHeld) as caught:
            acquire(state, "us", timedelta(minutes=1))
    assert f"since {datetime.now(UTC):%Y-%m-%d}" in caught.value.message


LEAD = """
import sys
from datetime import timedelta
from edgewright.state.lease import acquire
from edgewright.state.store import SqlState
from samples.state_values import a_report, an_artifact, an_event
state = SqlState(sys.argv[1], sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
with acquire(state, "edgewright serve", timedelta(hours=1)):
    for number in range(1, 26):
        state.record_artifact(an_artifact(f"{sys.argv[2]} {number}"))
        state.record_artifact(an_artifact(f"shared {number}"))
        state.add_events([an_event(number)])
        state.record_reports([a_report("lane-1", number)])
print("done", flush=True)
"""


def test_environments_of_one_file_are_led_by_processes_that_write_at_the_same_time(tmp_path: Path) -> None:
    file, names = tmp_path / "state.db", ["preview", "production", "staging"]
    with ExitStack() as stack:
        processes = [stack.enter_context(child(LEAD, file, name)) for name in names]
        assert [heard(process) for process in processes] == ["ready"] * 3
        for process in processes:
            tell(process, "go")
        assert [heard(process) for process in processes] == ["done"] * 3
    with SqlState(file) as store:
        assert list(store.environments()) == names
        assert len(store.artifacts()) == 4 * 25
    for name in names:
        with SqlState(file, name) as state:
            assert [number for number, _ in state.events_after(0)] == list(range(1, 26))
            assert state.report_sequences() == {"lane-1": 25}


def test_one_who_stands_by_takes_the_lease_when_its_holder_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with child(COMPETE, file) as process, SqlState(file) as state:
        assert heard(process) == "ready"
        tell(process, "go")
        assert heard(process) == "won 1"
        won: list[int] = []

        def stand_by() -> None:
            lease = wait_for_lease(state, "stand-by", timedelta(seconds=0.1), lambda: datetime.now(UTC), Event())
            assert lease is not None
            won.append(lease.fence)

        thread = Thread(target=stand_by)
        thread.start()
        thread.join(0.3)
        assert won == []
        process.kill()
        thread.join(10)
        assert won == [2]


def test_one_who_waits_for_room_on_the_disk_says_so(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with child(FULL, file) as process:
        assert heard(process).startswith(f"waiting for the state: the state store {file} cannot be written")
        assert heard(process) == "fence 1"


def test_standing_by_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with SqlState(tmp_path / "state.db") as state, SqlState(tmp_path / "state.db") as other:
        acquire(state, "us", timedelta(hours=1), lambda: NOW)
        cancel, ended = Event(), Event()

        def stand_by() -> None:
            assert wait_for_lease(other, "stand-by", timedelta(hours=1), lambda: NOW, cancel) is None
            ended.set()

        thread = Thread(target=stand_by)
        thread.start()
        cancel.set()
        assert ended.wait(10)
        thread.join()


def test_standing_by_for_a_store_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.write_text("no database\n" * 500)
    with SqlState(file) as state, pytest.raises(StateError, match="no database"):
        wait_for_lease(state, "us", timedelta(minutes=1), lambda: NOW, Event())
