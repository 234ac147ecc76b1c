"""One writer per environment: a lease with a fencing token, in the store's control row.

Taking the lease over raises the token, and every write checks it in its own transaction; so a writer that slept
through its lease's end cannot write, whatever it believes. ``cli`` and ``server`` take the lease before they apply.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from sqlalchemy import ColumnElement, Row, select, update

from edgewright.errors import LeaseHeld, StateError, Transient
from edgewright.state.encoding import certain_text
from edgewright.state.processes import Process, is_dead, this_process
from edgewright.state.schema import control
from edgewright.state.store import SqlState
from edgewright.state.troubles import lease_lost
from edgewright.state.writing import make_control

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Read the system's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Holding:
    """Who holds a lease."""

    holder: str
    """What it does, in words, like ``edgewright apply``."""
    process: Process
    since: datetime
    until: datetime

    def __str__(self) -> str:
        """Say who, where, since when and until when."""
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
        expires = certain_text(self._clock() + self._ttl)
        with self._state.transaction() as connection:
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
        clock: Gives aware times.

    Raises:
        LeaseHeld: Another process has it.
        StateError, StorageFull: The store cannot be written.
    """
    now = clock()
    me = this_process()
    with state.transaction() as connection:
        mine = control.c.environment == state.environment
        make_control(connection, state.environment)
        row = connection.execute(select(control).where(mine).with_for_update()).one()
        held = _holding(row)
        if held is not None and held.until > now and not is_dead(held.process):
            raise LeaseHeld(
                f"another apply is running: {held}",
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


def _holding(row: Row[tuple[object, ...]]) -> Holding | None:
    if not row.holder:
        return None
    process = Process(row.host, row.machine, row.pid, row.started)
    return Holding(row.holder, process, datetime.fromisoformat(row.since), datetime.fromisoformat(row.expires_at))
