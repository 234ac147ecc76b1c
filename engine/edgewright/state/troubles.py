"""What databases say when something is wrong, said as our errors. Called by ``queries`` and ``databases``."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from edgewright.errors import EdgewrightError, LeaseLost, StateError, StorageFull, Transient


def translate(error: BaseException, where: str) -> EdgewrightError:
    """Turn a database's error into ours.

    Args:
        error: What the driver raised.
        where: The file or URL (without its password) that it concerns.
    """
    if not isinstance(error, sqlite3.Error):
        return StateError(f"the state store {where} cannot be used: {error}", hint="check the URL and the server")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return StorageFull(
                f"the state store {where} cannot be written: {error}",
                hint="free some space (edgewright gc removes what nothing refers to) and run again; nothing is lost",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StateError(
                f"the state store {where} cannot be opened for writing: {error}",
                hint="make the folder and the file writable for this user, or name another store with --state",
            )
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return damaged(where, str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Transient(
                f"the state store {where} is busy: {error}", hint="another process is writing; run again in a moment"
            )
        case _:
            return StateError(
                f"the state store {where} cannot be used: {error}",
                hint="if another edgewright is upgrading it, run again; else restore it from a backup",
            )


def damaged(where: str, why: str) -> StateError:
    """Say that a store is not what edgewright wrote."""
    return StateError(
        f"the state store {where} is damaged or is no database: {why}",
        hint="restore it from a backup, or move it away: apply then rebuilds what it knew",
    )


@contextmanager
def sqlite_troubles(where: str) -> Iterator[None]:
    """Translate what the stdlib's driver raises.

    Raises:
        StateError, StorageFull, Transient: As in translate.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, where) from error


def lease_lost() -> LeaseLost:
    """Say that another process writes now."""
    return LeaseLost(
        "another process has taken over the lease of this environment",
        hint="nothing more is written; run edgewright status to see what it does",
    )


UNREADABLE = (ValueError, KeyError, TypeError)
"""What decoding a row raises when it holds something unexpected."""


def unreadable(what: str, error: Exception) -> StateError:
    """Say that a value is damaged, or one that only a newer edgewright knows."""
    return StateError(
        f"{what} in the state store cannot be read: {error}",
        hint="upgrade edgewright if a newer one has written it; else restore the store from a backup",
    )


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Tell what cannot be read.

    Raises:
        StateError: As in unreadable.
    """
    try:
        yield
    except UNREADABLE as error:
        raise unreadable(what, error) from error
