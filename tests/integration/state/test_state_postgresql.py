"""A real PostgreSQL server: its URLs and errors, restarts, and the lease between processes whose clocks differ."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import text

from edgewright.errors import EdgewrightError, LeaseHeld, LeaseLost, StateError, StateTooNew, StateUnavailable
from edgewright.state.lease import acquire, wait_for_lease
from edgewright.state.store import SqlState
from harness.children import child, heard, tell
from samples.state_values import NOW, a_report, an_artifact, an_event
from servers.postgresql import PASSWORD, PostgresqlServer, postgresql_server

pytestmark = pytest.mark.xdist_group("postgresql")
TTL = timedelta(minutes=1)
USES: list[Callable[[SqlState], object]] = [lambda s: s.enroll({"lane-9": {}}), lambda s: s.last_revision()]


@pytest.fixture
def url(postgresql: PostgresqlServer) -> str:
    return postgresql.fresh()


@pytest.fixture
def state(url: str) -> Iterator[SqlState]:
    with SqlState(url) as opened:
        yield opened


# ── URLs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_urls_of_postgresql_mean_psycopg(url: str, scheme: str) -> None:
    with SqlState(scheme + url.removeprefix("postgresql")) as state:
        state.enroll({"lane-1": {}})
        assert state.enrolled() == {"lane-1": {}}


def test_a_missing_driver_says_what_to_install() -> None:
    program = """
import sys
sys.modules["psycopg"] = None
from edgewright.errors import StateError
from edgewright.state.store import SqlState
try:
    SqlState("postgresql://me:hunter2@db/state").last_revision()
except StateError as error:
    print(repr(str(error)))
"""
    with child(program) as process:
        said = heard(process)
    assert "pip install 'psycopg[binary]>=3.2'" in said
    assert "hunter2" not in said


def test_no_error_shows_a_password(postgresql: PostgresqlServer) -> None:
    server = postgresql.url("guarded", "wr0ng-hunter2")
    refused = {
        server: "authentication failed",
        postgresql.url("guarded") + "&password=wr0ng-hunter2": "authentication failed",
        postgresql.url("nobody", "hunter2"): 'role "nobody" does not exist',
        postgresql.url("guarded", PASSWORD, "nonesuch"): 'database "nonesuch" does not exist',
        postgresql.url("guarded", PASSWORD) + "&nonsense=1": "invalid connection option",
        postgresql.url("guarded", "hun@ter2"): "more than one @",
        "postgresql://me:hun@ter2@db/state": "more than one @",
        "postgresql://me:hunter2@db:hunter2/state": "not one that can be used",
        "postgresql+nonesuch://me:hunter2@db/state": "not one that can be used",
        "nonesuch://me:hunter2@db/state": "not one that can be used",
        "://me:hunter2@db/state": "not one that can be used",
    }
    away = {
        "postgresql://me:hunter2@127.0.0.1:1/state": "does not answer",
        "postgresql://me:hunter2@nonesuch.invalid/state": "does not answer",
        "postgresql://me@127.0.0.1:1/state?password=hunter2": "does not answer",
    }
    for use in USES:
        for url, words in {**refused, **away}.items():
            with pytest.raises(EdgewrightError) as caught, SqlState(url) as state:
                use(state)
            assert words in str(caught.value), url
            assert isinstance(caught.value, StateUnavailable if url in away else StateError), url
            assert "ter2" not in str(caught.value)


def test_a_password_lets_in(postgresql: PostgresqlServer) -> None:
    postgresql.execute("CREATE SCHEMA IF NOT EXISTS guarded AUTHORIZATION guarded")
    with SqlState(postgresql.url("guarded", PASSWORD) + "&options=-csearch_path%3Dguarded") as state:
        state.enroll({"lane-1": {}})
        assert state.enrolled() == {"lane-1": {}}


def test_a_store_of_a_newer_version_is_refused(url: str, state: SqlState) -> None:
    state.enroll({"lane-1": {}})
    with state.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in USES:
        with pytest.raises(StateTooNew, match="9999"), SqlState(url) as other:
            use(other)


# ── a server that goes away ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    """A server of this test's own, which it may stop."""
    with postgresql_server() as own:
        yield own


def test_a_server_that_was_away_is_used_again_when_it_is_back(server: PostgresqlServer) -> None:
    with SqlState(server.fresh()) as state, SqlState(server.fresh()) as unopened:
        lease = acquire(state, "edgewright serve", TTL)
        state.record_artifact(an_artifact())
        assert state.last_revision() is None

        server.stop()
        for use in (state.last_revision, lambda: state.set_last_revision("abc"), lease.renew, unopened.last_revision):
            with pytest.raises(StateUnavailable, match="does not answer"):
                use()

        server.start()
        assert list(state.artifacts()) == [an_artifact().fingerprint]
        state.set_last_revision("abc")
        lease.renew()
        assert state.last_revision() == "abc"
        assert unopened.last_revision() is None

        server.stop()
        server.start()
        state.set_last_revision("def")  # its connections broke, and nobody had noticed yet
        assert state.last_revision() == "def"


def test_a_connection_dropped_inside_a_transaction_leaves_no_trace(
    postgresql: PostgresqlServer, state: SqlState
) -> None:
    state.enroll({"lane-1": {}})
    with pytest.raises(StateUnavailable), state.transaction() as connection:
        connection.execute(text("DELETE FROM enrolled"))
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        postgresql.execute(f"SELECT pg_terminate_backend({pid})")
        connection.execute(text("DELETE FROM reports"))
    assert state.enrolled() == {"lane-1": {}}


# ── the lease ─────────────────────────────────────────────────────────────────────────────────────────────────────

HOLD = """
import socket, sys
from datetime import UTC, datetime, timedelta
if sys.argv[2]:
    socket.gethostname = lambda: sys.argv[2]
from edgewright.errors import LeaseLost
from edgewright.state.lease import acquire
from edgewright.state.store import SqlState
state = SqlState(sys.argv[1])
slow = timedelta(minutes=float(sys.argv[4]))
lease = acquire(state, "edgewright serve", timedelta(seconds=float(sys.argv[3])), lambda: datetime.now(UTC) + slow)
print(lease.fence, flush=True)
sys.stdin.readline()
try:
    state.set_last_revision("by the old holder")
except LeaseLost:
    print("lost", flush=True)
"""


def test_a_killed_holder_is_followed_at_once_on_the_same_machine(url: str, state: SqlState) -> None:
    with child(HOLD, url, "", 3600, 0) as process:
        assert heard(process) == "1"
        with pytest.raises(LeaseHeld, match=f"process {process.pid} on "):
            acquire(state, "us", TTL)
        process.kill()
        process.wait()
        assert acquire(state, "us", TTL).fence == 2
        state.set_last_revision("ours")


def test_a_holder_killed_elsewhere_is_followed_when_its_lease_ends(url: str, state: SqlState) -> None:
    with child(HOLD, url, "another-host", 2, 0) as process:
        assert heard(process) == "1"
        process.kill()
        process.wait()
        with pytest.raises(LeaseHeld, match="another-host"):
            acquire(state, "us", TTL)
        lease = wait_for_lease(state, "us", TTL / 60, lambda: NOW, Event())
        assert lease is not None
        assert lease.fence == 2


def test_a_holder_that_slept_writes_nothing_more(url: str, state: SqlState) -> None:
    with child(HOLD, url, "another-host", 0.001, 0) as process:
        assert heard(process) == "1"
        assert wait_for_lease(state, "us", TTL, lambda: NOW, Event()) is not None
        state.set_last_revision("ours")
        tell(process, "go on")
        assert heard(process) == "lost"
    assert state.last_revision() == "ours"


def _clock_off_by(minutes: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


@pytest.mark.parametrize("minutes", [-10, 10])
def test_clocks_that_differ_do_not_steal_a_lease(url: str, state: SqlState, minutes: int) -> None:
    with child(HOLD, url, "another-host", 60, minutes) as process:
        assert heard(process) == "1"
        for ours in (-10, 0, 10):
            with pytest.raises(LeaseHeld) as caught:
                acquire(state, "us", TTL, partial(_clock_off_by, ours))
        until = datetime.fromisoformat(str(caught.value).partition("until ")[2].partition(" UTC")[0]).replace(
            tzinfo=UTC
        )
        assert timedelta(0) < until - datetime.now(UTC) < 2 * TTL


def test_of_those_who_stand_by_one_follows_and_the_others_wait_on(url: str) -> None:
    cancel = Event()
    with SqlState(url) as holder, ExitStack() as stack:
        lease = acquire(holder, "active", TTL)
        followers = [stack.enter_context(SqlState(url)) for _ in range(3)]
        got: list[int] = []
        first = Event()

        def stand_by(state: SqlState) -> None:
            won = wait_for_lease(state, "stand-by", timedelta(seconds=0.3), lambda: NOW, cancel)
            if won is not None:
                with won:
                    got.append(won.fence)
                    first.set()
                    cancel.wait()

        threads = [Thread(target=stand_by, args=(state,)) for state in followers]
        for thread in threads:
            thread.start()
        assert not first.wait(0.3), "while the lease is held nobody gets it"
        lease.release()
        assert first.wait(10)
        assert not cancel.wait(0.6), "the winner renews its lease, and the others go on waiting"
        assert got == [3]
        cancel.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        assert got == [3]


def test_one_who_stands_by_outlasts_a_restart(server: PostgresqlServer) -> None:
    url = server.fresh()
    asked = Event()

    def clock() -> datetime:
        raise AssertionError("the server's clock counts")

    with SqlState(url) as holder, SqlState(url) as follower:
        lease = acquire(holder, "active", TTL)
        found: list[int] = []

        def stand_by() -> None:
            won = wait_for_lease(follower, "stand-by", timedelta(seconds=0.3), clock, Event())
            assert won is not None
            found.append(won.fence)
            asked.set()

        thread = Thread(target=stand_by)
        thread.start()
        server.stop()
        assert not asked.wait(0.3)
        server.start()
        lease.release()
        assert asked.wait(20)
        thread.join()
        assert found == [3]


def test_waiting_for_a_lease_can_be_given_up(url: str, state: SqlState) -> None:
    cancel = Event()
    cancel.set()
    assert wait_for_lease(state, "us", TTL, lambda: NOW, cancel) is None
    assert state.last_revision() is None


# ── several writers ───────────────────────────────────────────────────────────────────────────────────────────────


def test_environments_write_at_the_same_time(url: str) -> None:
    def work(name: str) -> None:
        with SqlState(url, name) as state:
            acquire(state, name, TTL)
            for number in range(1, 31):
                state.record_artifact(an_artifact(f"{name} {number}"))
                state.record_artifact(an_artifact(str(number)))
                state.forget_artifacts([an_artifact(str(n)).fingerprint for n in range(30)])
                state.add_events([an_event(number)])
                state.record_reports([a_report("lane-1", number)])

    names = ["a", "b", "c"]
    threads = [Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with SqlState(url) as state:
        assert list(state.environments()) == names
        assert len(state.artifacts()) == 91
    for name in names:
        with SqlState(url, name) as state:
            assert [number for number, _ in state.events_after(0)] == list(range(1, 31))
            assert state.report_sequences() == {"lane-1": 30}


def test_a_write_that_is_under_way_does_not_hold_up_another_environment(url: str) -> None:
    with SqlState(url, "a") as first, SqlState(url, "b") as second:
        first.enroll({"lane-1": {}})
        with first.transaction() as connection:
            connection.execute(text("UPDATE control SET version = version + 1 WHERE environment = 'a'"))
            second.enroll({"lane-1": {}})
        assert second.enrolled() == {"lane-1": {}}


def test_a_lease_lost_is_found_by_the_next_write(url: str, state: SqlState) -> None:
    acquire(state, "sleeper", timedelta(microseconds=1))
    with SqlState(url) as other:
        assert wait_for_lease(other, "successor", TTL, lambda: NOW, Event()) is not None
        with pytest.raises(LeaseLost):
            state.record_reports([a_report("lane-1", 1)])
        assert dict(other.reports()) == {}


def test_there_is_no_folder_made_for_a_server(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SqlState(url) as state:
        state.enroll({"lane-1": {}})
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:hunter2@127.0.0.1:{silent.getsockname()[1]}/state?connect_timeout=2"
        with SqlState(url) as state, pytest.raises(StateUnavailable, match="timeout") as caught:
            state.last_revision()
    assert "hunter2" not in str(caught.value)
