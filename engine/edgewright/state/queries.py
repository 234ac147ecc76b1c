"""Queries of ``reading``: plain SELECTs with ``:named`` parameters, to SQLite or through SQLAlchemy.

A plan that finds nothing to do spends a good part of its time on imports, and SQLAlchemy is the largest of them;
so SQLite files are read with the standard library's driver. Both ways pass the same conformance suite.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from edgewright.errors import StateError, StateTooNew
from edgewright.state.errors import damaged, sqlite_errors
from edgewright.state.revisions import HEAD, REVISIONS

if TYPE_CHECKING:  # SQLAlchemy takes longer to import than a whole plan may
    from sqlalchemy import Engine

BUSY_SECONDS = 30.0
Parameters = Mapping[str, Any]
NONE: Parameters = MappingProxyType({})


class Queries(Protocol):
    """Runs SELECTs."""

    def rows(self, sql: str, parameters: Parameters = NONE) -> Sequence[tuple[Any, ...]]:
        """Fetch all rows.

        Raises:
            StateError: The store cannot be read.
            StateUnavailable: The database did not answer, or the connection broke.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class NoState:
    """A store that does not exist yet: every query returns nothing, and none creates it."""

    def rows(self, sql: str, parameters: Parameters = NONE) -> Sequence[tuple[Any, ...]]:
        """Fetch nothing."""
        return ()

    def close(self) -> None:
        """Do nothing."""


class SqliteQueries:
    """Reads one SQLite connection, from any thread."""

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self._connection = connection
        self._where = where
        self._lock = Lock()

    def rows(self, sql: str, parameters: Parameters = NONE) -> Sequence[tuple[Any, ...]]:
        """Fetch all rows."""
        with self._lock, sqlite_errors(self._where):
            return self._connection.execute(sql, dict(parameters)).fetchall()

    def close(self) -> None:
        """Close the connection, after the query that another thread is running."""
        with self._lock:
            self._connection.close()


class EngineQueries:
    """Reads through a SQLAlchemy engine; each query is a transaction of its own."""

    def __init__(self, engine: "Engine", translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._translated = translated

    def rows(self, sql: str, parameters: Parameters = NONE) -> Sequence[tuple[Any, ...]]:
        """Fetch all rows."""
        from sqlalchemy import text

        with self._translated(), self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), dict(parameters))]

    def close(self) -> None:
        """Leave the engine to its owner."""


def open_sqlite(path: Path) -> SqliteQueries | NoState:
    """Open a SQLite file for reading only; never creates or changes it.

    A store of an older revision is upgraded in a copy in memory. A file below a read-only folder is read as it is.

    Raises:
        StateTooNew: A newer version wrote it.
        StateError: It is damaged, or no database, or cannot be read.
    """
    if not path.exists():
        return NoState()
    with sqlite_errors(str(path)):
        connection = _connect(path)
        revision = _revision(connection, str(path))
    match compare(revision, str(path)):
        case "empty":
            connection.close()
            return NoState()
        case "older":
            connection = _upgraded_copy(connection, str(path))
    return SqliteQueries(connection, str(path))


def compare(revision: str | None, where: str) -> str:
    """Compare a stored revision with this version: ``empty``, ``older`` or ``current``.

    Raises:
        StateTooNew: It is none that this version knows.
    """
    if revision is None:
        return "empty"
    if revision == HEAD:
        return "current"
    if revision in REVISIONS:
        return "older"
    raise StateTooNew(
        f"the state store {where} was written by a newer edgewright "
        f"(its revision is {revision}, this one knows {HEAD})",
        hint="upgrade edgewright, or restore a backup of the store from before the upgrade",
    )


def stored_revision(rows: Sequence[Sequence[Any]], where: str) -> str:
    """Return the revision from the rows of its table.

    Raises:
        StateError: It is not there, which no version leaves so: part of the store is lost.
    """
    found = rows[0][0] if rows else None
    if not isinstance(found, str) or not found:
        raise damaged(where, "its revision is lost")
    return found


def _connect(path: Path) -> sqlite3.Connection:
    """Open read-only. A WAL database needs its side files; below a read-only folder it is read without them."""
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = _open(address)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.OperationalError as error:
        connection.close()
        wal = path.with_name(path.name + "-wal")
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY} or (
            wal.exists() and wal.stat().st_size
        ):
            raise
        connection = _open(address + "&immutable=1")
    return connection


def _open(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _revision(connection: sqlite3.Connection, where: str) -> str | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" not in tables:
        if tables:
            raise StateError(f"{where} is a database of something else", hint="name another file or URL with --state")
        return None
    return stored_revision(connection.execute("SELECT version_num FROM alembic_version").fetchall(), where)


def _upgraded_copy(connection: sqlite3.Connection, where: str) -> sqlite3.Connection:
    from edgewright.state.upgrading import upgrade_sqlite

    copy = _open(":memory:")
    with sqlite_errors(where):
        connection.backup(copy)
    connection.close()
    upgrade_sqlite(copy)
    return copy
