"""A database opened with SQLAlchemy: its settings, its transactions and its upgrade. Only ``store`` opens one."""

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from edgewright.errors import StateError, StorageFull
from edgewright.secret import Secret
from edgewright.state import addresses
from edgewright.state.errors import lease_lost, translate, unavailable
from edgewright.state.queries import BUSY_SECONDS, EngineQueries, NoState, Queries, compare, stored_revision
from edgewright.state.writing import Statements

UPGRADING = 0x65646765
"""Key of PostgreSQL's advisory lock that upgrades of one store wait for each other by."""


class Database:
    """A database for reading and writing."""

    def __init__(self, url: str, file: Path | None) -> None:
        """Prepare to connect.

        Args:
            url: As SQLAlchemy takes it; not looked at for a file.
            file: The file of an SQLite database.

        Raises:
            StateError: The URL is wrong, or the database's driver is not installed.
        """
        self._file = file
        self._secrets: Sequence[Secret] = ()
        if file is not None:
            self.where = str(file)
            self._engine = _open_file(file)
        else:
            address = addresses.parse(url)
            self.where = addresses.shown(address)
            self._secrets = addresses.secrets_of(address)
            self._engine = addresses.connect(address)
        self.upgraded = False
        """Whether ``upgrade`` has been called: nothing may be written before."""

    def queries(self) -> Queries:
        """Read through this database's own connections.

        Raises:
            StateTooNew: A newer version wrote it.
            StateError: It has to be upgraded first, or cannot be read.
        """
        with self._translated(), self._engine.connect() as connection:
            age = compare(_revision(connection, self.where), self.where)
        if age == "empty":
            return NoState()
        if age == "older":
            raise StateError(
                f"the state store {self.where} was written by an older edgewright", hint="run apply, which upgrades it"
            )
        return EngineQueries(self._engine, self._translated)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction that no other writer runs beside; it commits at the end, or leaves no trace.

        Raises:
            StateError, StorageFull, StateUnavailable: As in errors.translate.
        """
        with self._translated(), self._engine.begin() as connection:
            if self._file is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def writing(self, fence: int | None, environment: str) -> Iterator[Statements]:
        """Open a transaction of an environment under a fencing token; None checks no lease.

        Raises:
            LeaseLost: The fence has moved on.
            StateError, StorageFull, StateUnavailable: As in transaction.
        """
        with self.transaction() as connection:
            statements = Statements(connection, environment)
            if not statements.advance(fence):
                raise lease_lost()
            yield statements

    def upgrade(self) -> None:
        """Make the store, or bring an older one to this version; alembic is imported only for that.

        Raises:
            StateTooNew: A newer version wrote it.
            StateError, StorageFull: It cannot be written.
        """
        if self._file is not None:
            _make_folder(self._file.parent)
        with self._translated(), self._engine.connect() as connection:
            age = compare(_revision(connection, self.where), self.where)
        if age != "current":
            with self.transaction() as connection:
                from edgewright.state.upgrading import upgrade

                if addresses.is_postgresql(connection):
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING})
                # Another process may have done it since: alembic looks again, now that nobody else can.
                upgrade(connection)
        self.upgraded = True

    def close(self) -> None:
        """Close all connections; what SQLite's log holds is moved into its file as far as no reader needs it there."""
        if self._file is not None and self.upgraded:
            with suppress(DBAPIError), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA busy_timeout = 0")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise translate(error.orig or error, self.where, self._secrets) from error
        except NoConnectionLeft as error:
            raise unavailable(self.where, "all connections are busy") from error


def _open_file(file: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(file)), connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    """Set durability; and leave BEGIN to us, because the driver would begin too late to keep other writers out."""
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _revision(connection: Connection, where: str) -> str | None:
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if tables and connection.dialect.name == "sqlite":
            raise StateError(
                f"{connection.engine.url.database} is a database of something else",
                hint="name another file or URL with --state",
            )
        return None
    return stored_revision(connection.execute(text("SELECT version_num FROM alembic_version")).all(), where)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise StorageFull(
                f"the folder {folder} cannot be made: {error.strerror}", hint="free some space"
            ) from error
        raise StateError(
            f"the folder {folder} for the state store cannot be made: {error.strerror}",
            hint="make its parent writable for this user, or name another place with --state",
        ) from error
