"""``SqlState``: the state store that ``cli`` and ``server`` open, by URL or by the path of a SQLite file.

Reading makes and changes nothing. The first write makes the store, or upgrades an older one; from then on every
write is one transaction that first checks the lease (``lease``), which also makes writers wait for one another.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState
from edgewright.core.status.conditions import Condition
from edgewright.errors import StateError
from edgewright.ports import Event, Intent
from edgewright.state.queries import NoState, Queries, open_sqlite
from edgewright.state.reading import StoredState
from edgewright_wire.messages import Assignment, Report

if TYPE_CHECKING:  # SQLAlchemy takes longer to import than a whole plan may
    from sqlalchemy import Connection

    from edgewright.state.databases import Database
    from edgewright.state.writing import Statements

SQLITE = "sqlite:///"
Work = Callable[["Statements"], bool]


class SqlState(StoredState):
    """Implements ports.StateReader and ports.StateWriter. Safe to use from several threads."""

    def __init__(self, url: str | Path, environment: str = "") -> None:
        """Create a handle; nothing is opened yet.

        Args:
            url: A path, ``sqlite:///PATH``, ``postgresql://…``, or any URL that SQLAlchemy takes.
            environment: Whose state is read and written; several may be in one store.
        """
        super().__init__(self._reading, environment)
        self._file = _file_of(url)
        self._url = str(url)
        self._lock = RLock()
        self._reader: Queries | None = None
        self._database: Database | None = None
        self._fence: int | None = None

    def __enter__(self) -> "SqlState":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def file(self) -> Path | None:
        """The SQLite file that it is in; None for another database."""
        return self._file

    def close(self) -> None:
        """Close all connections; a later call opens them again."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            if self._database is not None:
                self._database.close()
            self._reader = self._database = None

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────

    def record_artifact(self, artifact: Artifact) -> None:
        """Add or replace by fingerprint; clears a failure recorded for it."""
        self._write(lambda s: s.record_artifact(artifact))

    def forget_artifacts(self, fingerprints: Iterable[str]) -> None:
        """Remove artifacts (their blobs were found missing or corrupt, or gc takes them)."""
        self._write(lambda s: s.forget_artifacts(fingerprints))

    def record_failure(self, fingerprint: str, message: str) -> None:
        """Record that a step failed for good."""
        self._write(lambda s: s.record_failure(fingerprint, message))

    def set_champion(self, model: str, champion: Champion) -> None:
        """Set the champion of a model."""
        self._write(lambda s: s.set_champion(model, champion))

    def save_rollout(self, address: Address, state: RolloutState) -> None:
        """Store a rollout and its summary."""
        self._write(lambda s: s.save_rollout(address, state))

    def save_rollout_with_assignments(
        self,
        address: Address,
        state: RolloutState,
        assignments: Sequence[Assignment],
        events: Sequence[Event],
        champion: tuple[str, Champion] | None = None,
    ) -> None:
        """Store a rollout's decisions in one transaction: its state, the assignments they make (unpublished), the
        events, and the model's new champion where the rollout has just succeeded.

        Raises:
            StateError: An assignment's version is not above the device's last one; nothing is stored.
        """

        def whole(s: "Statements") -> bool:
            changes = [s.save_rollout(address, state), s.add_assignments(assignments), s.add_events(events)]
            if champion is not None:
                changes.append(s.set_champion(*champion))
            return any(changes)

        self._write(whole)

    def mark_published(self, versions: Mapping[str, int]) -> None:
        """Confirm that the assignments of these versions are published, by device."""
        self._write(lambda s: s.mark_published(versions))

    def record_reports(self, reports: Sequence[Report], now: datetime | None = None) -> None:
        """Store each device's newest report; an older sequence is ignored unless it was sent later (a lost disk), or
        the time of the stored one is too far from now.
        """
        self._write(lambda s: s.record_reports(reports, now), leased=False)

    def take_inbox(self, devices: Collection[str], now: datetime | None = None) -> None:
        """Move the reports of these devices out of the inbox, as ``record_reports`` does."""
        self._write(lambda s: s.take_inbox(devices, now), leased=False)

    def set_managed(self, resources: Mapping[Address, bool]) -> None:
        """Replace the resources under management."""
        self._write(lambda s: s.set_managed(resources))

    def begin(self, intent: Intent) -> None:
        """Journal an intent; beginning it again is harmless, and opens it again when it was closed."""
        self._write(lambda s: s.begin(intent))

    def finish(self, name: str, outcome: str) -> None:
        """Close an intent: ``done``, ``failed`` or ``cancelled``."""
        self._write(lambda s: s.finish(name, outcome))

    def use_plan(self, plan_id: str, at: datetime) -> bool:
        """Mark a plan used; False when it was used before."""
        return self._write(lambda s: s.use_plan(plan_id, at))

    def add_events(self, events: Sequence[Event]) -> None:
        """Append to history."""
        self._write(lambda s: s.add_events(events))

    def set_last_revision(self, revision: str) -> None:
        """Store the revision applied last."""
        self._write(lambda s: s.set_last_revision(revision))

    def enroll(self, devices: Mapping[str, Mapping[str, str]]) -> None:
        """Add devices, or replace the labels of known ones."""
        self._write(lambda s: s.enroll(devices), leased=False)

    def unenroll(self, devices: Iterable[str]) -> None:
        """Remove devices; their assignments and reports stay, so that versions keep growing if they return."""
        self._write(lambda s: s.unenroll(devices), leased=False)

    def request_controls(self, address: Address, controls: Controls) -> None:
        """Request controls of a rollout, in place of those requested before and not taken up."""
        self._write(lambda s: s.request_controls(address, controls), leased=False)

    def take_controls(self, taken: Mapping[Address, Controls]) -> None:
        """Remove requests that the rollout's stored state now holds; one asked anew since then stays."""
        self._write(lambda s: s.take_controls(taken))

    def accept_revision(self, revision: str) -> None:
        """Store the accepted revision."""
        self._write(lambda s: s.accept_revision(revision))

    def set_conditions(self, conditions: Mapping[Address, Sequence[Condition]]) -> None:
        """Replace the conditions of all resources; only what differs is written."""
        self._write(lambda s: s.set_conditions(conditions))

    def set_notified(self, receiver: str, cursor: int) -> None:
        """Store the number of the last event a receiver was notified of."""
        self._write(lambda s: s.set_notified(receiver, cursor))

    def signal(self, name: str) -> None:
        """Send a signal; needs no lease."""
        self._write(lambda s: s.signal(name), leased=False)

    def prune_history(self, *, keep: int) -> int:
        """Delete all but the newest events, and older closed intents and used plans; returns the number of events.

        Events that a receiver has not been notified of stay. Each of many short transactions deletes a batch.
        """
        events = sum(self._until_none(lambda s: s.prune_events(keep)))
        sum(self._until_none(lambda s: s.prune_journal()))
        return events

    # ── for lease ─────────────────────────────────────────────────────────────────────────────────────────────

    def hold(self, fence: int | None) -> None:
        """Write under this fencing token from now on; None gives it up. Called by ``lease``."""
        self._fence = fence

    def transaction(self) -> "AbstractContextManager[Connection]":
        """Open a transaction that checks no lease. Called by ``lease``.

        Raises:
            StateError, StorageFull: The store cannot be written.
        """
        return self._writable().transaction()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, work: Work, *, leased: bool = True) -> bool:
        fence = self._fence
        database = self._writable()
        if leased and fence is None:
            raise StateError(
                f"the state store {database.where} would be written without its lease",
                hint="another process may have taken it over; run the command again",
            )
        with database.writing(fence, self.environment) as statements:
            changed = work(statements)
            if not changed:
                statements.undo()
            return changed

    def _until_none(self, forget: Callable[["Statements"], int]) -> Iterator[int]:
        """Repeat a statement, each time in a transaction of its own, until it changes no row."""
        counts = [1]

        def work(s: "Statements") -> bool:
            counts.append(forget(s))
            return counts[-1] > 0

        while self._write(work):
            yield counts[-1]

    def _reading(self) -> Queries:
        with self._lock:
            if self._reader is None or isinstance(self._reader, NoState):
                if self._file is not None:
                    self._reader = open_sqlite(self._file)
                else:
                    self._reader = self._opened().queries()
            return self._reader

    def _opened(self) -> "Database":
        with self._lock:
            if self._database is None:
                from edgewright.state.databases import Database

                self._database = Database(self._url, self._file)
            return self._database

    def _writable(self) -> "Database":
        with self._lock:
            database = self._opened()
            if not database.upgraded:
                database.upgrade()
                # Another thread may be about to ask it, so it closes when nobody holds it any more.
                self._reader = None
            return database


def _file_of(url: str | Path) -> Path | None:
    """Find the file of a SQLite store; None for another database.

    Raises:
        StateError: It is an SQLite database in memory, which no second process could see.
    """
    if isinstance(url, Path):
        return url
    if url.startswith(SQLITE) and len(url) > len(SQLITE):
        return Path(url.removeprefix(SQLITE).partition("?")[0])
    if url.startswith("sqlite:"):
        raise StateError(f"{url} names no file", hint="write sqlite:///PATH; an absolute path gives four slashes")
    return None if "://" in url else Path(url)
