"""Upserts, deletes and locks of rows, on SQLite and PostgreSQL alike. Used by ``writing``, ``twins`` and ``lease``."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Select, Table, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from edgewright.state import schema

Excluded = ReadOnlyColumnCollection[str, Any]
Only = Callable[[Table, Excluded], ColumnElement[bool]]
"""Condition on which a stored row is replaced, given the new one."""


class Rows:
    """Writes the rows of one environment inside one transaction."""

    def __init__(self, connection: Connection, environment: str) -> None:
        self._connection = connection
        self._environment = environment

    def _mine(self, table: Table) -> ColumnElement[bool]:
        mine: ColumnElement[bool] = table.c.environment == self._environment
        return mine

    def _replace(self, table: Table, column: str, wanted: Mapping[str, Any]) -> bool:
        """Replace all rows of a table keyed by address; only those that differ are written."""
        found = self._connection.execute(select(table.c.address, table.c[column]).where(self._mine(table)))
        stored: dict[str, Any] = {row[0]: row[1] for row in found}
        rows = [
            {"address": address, column: value} for address, value in wanted.items() if stored.get(address) != value
        ]
        changed = self.upsert(table, rows)
        return self._remove(table, stored.keys() - wanted.keys()) or changed

    def upsert(
        self,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        only: Only | None = None,
        *,
        replace: bool = True,
    ) -> bool:
        """Insert rows, or replace those of the same key where ``only`` holds or, without it, if something differs."""
        if not rows:
            return False
        if "environment" in table.c:
            rows = [{"environment": self._environment, **row} for row in rows]
        statement = _upserting(table, tuple(rows[0]), self._connection.dialect.name, only, replace)
        return self._changes(statement, rows)

    def insert_selected(self, table: Table, rows: Select[Any], only: Only) -> None:
        """Insert the rows of a SELECT, whose columns are the table's; of those that are there, where ``only`` holds."""
        keys = [column.name for column in table.primary_key]
        statement = _dialect_insert(self._connection.dialect.name, table).from_select(
            [column.name for column in table.columns], rows
        )
        new = statement.excluded
        others = {column.name: new[column.name] for column in table.columns if column.name not in keys}
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=others, where=only(table, new))
        )

    def _remove(self, table: Table, keys: Collection[str] | Iterable[str]) -> bool:
        """Delete rows by their only key beside the environment."""
        (key,) = (column for column in table.primary_key if column.name != "environment")
        values = [{"k": value} for value in keys]
        statement = delete(table).where(key == bindparam("k"))
        if "environment" in table.c:
            statement = statement.where(self._mine(table))
        return bool(values) and self._connection.execute(statement, values).rowcount > 0

    def _changes(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Run a statement for each row, and return whether any changed; so it is where the driver cannot count many."""
        if not rows:
            return False
        parameters = rows[0] if len(rows) == 1 else rows
        options = {"preserve_rowcount": True}
        return self._connection.execute(statement, parameters, execution_options=options).rowcount != 0


def _dialect_insert(dialect_name: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if dialect_name == "postgresql" else sqlite.insert(table)


@lru_cache(maxsize=100)
def _upserting(table: Table, names: Sequence[str], dialect_name: str, only: Only | None, replace: bool) -> Executable:
    """Build a statement for ``upsert``, once: building it takes longer than running it."""
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.columns if column.name not in keys and column.name in names]
    statement = _dialect_insert(dialect_name, table)
    if not replace:
        return statement.on_conflict_do_nothing(index_elements=keys)
    new = statement.excluded
    differs = table.c[others[0]].is_distinct_from(new[others[0]])
    for name in others[1:]:
        differs |= table.c[name].is_distinct_from(new[name])
    return statement.on_conflict_do_update(
        index_elements=keys,
        set_={name: new[name] for name in others},
        where=differs if only is None else only(table, new),
    )


def lock_row(connection: Connection, name: str) -> None:
    """Take an advisory lock until the transaction ends; on SQLite, which has one writer at a time, the write lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    else:  # its drivers begin to write with the first statement that does
        table = schema.signals
        connection.execute(delete(table).where(table.c.environment.is_(None)))


def make_control(connection: Connection, environment: str) -> None:
    """Insert an environment's row of control, unless it is there."""
    nobody = {"holder": "", "host": "", "machine": "", "pid": 0, "started": "", "since": "", "expires_at": ""}
    row = _dialect_insert(connection.dialect.name, schema.control).values(
        environment=environment, version=0, fence=0, **nobody
    )
    connection.execute(row.on_conflict_do_nothing(index_elements=["environment"]))
