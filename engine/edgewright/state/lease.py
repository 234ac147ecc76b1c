"""One writer per environment: a lease with a fencing token, in the store's control row.

Taking the lease over raises the token, and every write checks it in its own transaction; so a writer that slept
through its lease's end cannot write, whatever it believes. ``cli`` and ``server`` take the lease before they apply.
"""

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from sqlalchemy import ColumnElement, Connection, Row, select, text, update

from edgewright.errors import LeaseHeld, StateError, Transient
from edgewright.ports import Cancel
from edgewright.state.addresses import is_postgresql
from edgewright.state.encoding import certain_text
from edgewright.state.errors import lease_lost
from edgewright.state.processes import Process, is_dead, this_process
from edgewright.state.rows import make_control
from edgewright.state.schema import control
from edgewright.state.store import SqlState

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]
_LONGEST_PAUSE = 5.0


def utc_now() -> datetime:
    """Read the system's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Holding:
    """Holder of a lease."""

    holder: str
    """What it does, in words, like ``edgewright apply``."""
    process: Process
    since: datetime
    until: datetime

    def __str__(self) -> str:
        """Describe the holder: who, where, since when and until when."""
        return (
            f"{self.holder} (process {self.process.pid} on {self.process.host}) since {self.since:%Y-%m-%d %H:%M:%S} "
            f"UTC, until {self.until:%Y-%m-%d %H:%M:%S} UTC unless renewed"
        )


class SqlLease:
    """Implements ports.Lease. As a context manager it renews itself from a thread and is released at the end."""

    def __init__(self, state: SqlState, fence: int, ttl: timedelta, clock: Clock) -> None:
        self._state = state
        self._ttl = ttl
        self._clock = clock
        self._stop = Event()
        self._thread: Thread | None = None
        self.fence = fence
        self.lost = Event()
        """Set when the renewing thread finds that another process has taken over, or that the store cannot be used."""

    def renew(self) -> None:
        """Extend the lease to its full time from now.

        Raises:
            LeaseLost: Another holder took over, or it was released.
        """
        with self._state.transaction() as connection:
            expires = certain_text(_now(connection, self._clock) + self._ttl)
            extended = connection.execute(update(control).where(self._ours()).values(expires_at=expires)).rowcount
        if not extended:
            raise lease_lost()

    def release(self) -> None:
        """Give it back. Harmless when it is lost, or given back already."""
        self._state.hold(None)
        with self._state.transaction() as connection:
            connection.execute(
                update(control).where(self._ours()).values(fence=self.fence + 1, holder="", expires_at="")
            )

    def _ours(self) -> ColumnElement[bool]:
        return (control.c.environment == self._state.environment) & (control.c.fence == self.fence)

    def __enter__(self) -> "SqlLease":
        self._thread = Thread(target=self._renew_always, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(StateError, Transient):  # it then ends with this process, or by itself
            self.release()

    def _renew_always(self) -> None:
        while not self._stop.wait(self._ttl.total_seconds() / 3):
            try:
                self.renew()
            except StateError:
                self.lost.set()
                return
            except Transient:
                continue  # the next attempt may succeed; if none does in time, another may take over, and we find out


def acquire(state: SqlState, holder: str, ttl: timedelta, clock: Clock = utc_now) -> SqlLease:
    """Take the lease, so that ``state`` can be written.

    One that has expired, or whose process has ended on this machine, is taken over at once.

    Args:
        state: The store. Its writes are checked against this lease from now on.
        holder: What wants it, in words, like ``edgewright apply``.
        ttl: How long it lasts without being renewed.
        clock: Gives aware times. A database server's own clock counts in its place: those of the machines that
            connect to it may differ.

    Raises:
        LeaseHeld: Another process has it.
        StateError, StorageFull: The store cannot be written.
        StateUnavailable: The database did not answer.
    """
    me = this_process()
    with state.transaction() as connection:
        mine = control.c.environment == state.environment
        make_control(connection, state.environment)
        row = connection.execute(select(control).where(mine).with_for_update()).one()
        now = _now(connection, clock)
        held = _holding(row)
        if held is not None and held.until > now and not is_dead(held.process):
            raise LeaseHeld(
                f"the state is in use by {held}",
                hint="wait for it, or stop that process; its lease then ends by itself",
            )
        fence = int(row.fence) + 1
        connection.execute(
            update(control)
            .where(mine)
            .values(
                fence=fence,
                holder=holder or "edgewright",
                host=me.host,
                machine=me.machine,
                pid=me.pid,
                started=me.started,
                since=certain_text(now),
                expires_at=certain_text(now + ttl),
            )
        )
    state.hold(fence)
    return SqlLease(state, fence, ttl, clock)


def wait_for_lease(state: SqlState, holder: str, ttl: timedelta, clock: Clock, cancel: Cancel) -> SqlLease | None:
    """Stand by until the lease is free, and take it. A database that does not answer is asked again.

    Args:
        state: As in acquire.
        holder: As in acquire.
        ttl: As in acquire; it is asked for a few times in that time, but every five seconds at least.
        clock: As in acquire.
        cancel: Ends the wait.

    A store that does not answer, or has no room, is logged, and again when it says something else.

    Returns:
        The lease; None when ``cancel`` was set first.

    Raises:
        StateError: The store cannot be used, and waiting would not change that.
    """
    pause = min(ttl.total_seconds() / 3, _LONGEST_PAUSE)
    logged = ""
    while not cancel.is_set():
        try:
            return acquire(state, holder, ttl, clock)
        except LeaseHeld:
            logged = ""
        except Transient as error:
            if error.message != logged:
                log.warning("waiting for the state: %s%s", error.message, f" ({error.hint})" if error.hint else "")
            logged = error.message
        # Standby controllers should not ask all at once.
        if cancel.wait(pause * random.uniform(0.5, 1)):  # noqa: S311 - nothing secret
            break
    return None


def _now(connection: Connection, clock: Clock) -> datetime:
    """Read the clock that all who may want the lease share."""
    if not is_postgresql(connection):
        return clock()
    moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment.astimezone(UTC)


def _holding(row: Row[tuple[object, ...]]) -> Holding | None:
    if not row.holder:
        return None
    process = Process(row.host, row.machine, row.pid, row.started)
    return Holding(row.holder, process, datetime.fromisoformat(row.since), datetime.fromisoformat(row.expires_at))
