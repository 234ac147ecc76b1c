"""Translation of databases' errors into ours. Used by ``queries`` and ``databases``."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgewright.errors import EdgewrightError, LeaseLost, StateError, StateUnavailable, StorageFull
from edgewright.secret import Secret, redact


def translate(error: BaseException, where: str, secrets: Sequence[Secret] = ()) -> EdgewrightError:
    """Translate a database's error into ours.

    Args:
        error: What the driver raised.
        where: The file or URL (without its password) that it concerns.
        secrets: What the error's text must not show.
    """
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error, where)
    said = redact(" ".join(str(error).split()), secrets)
    state = getattr(error, "sqlstate", None) or ""
    if state in _FULL:
        return StorageFull(
            f"the state store {where} cannot be written: {said}", hint="free some space on the database's server"
        )
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"OperationalError", "InterfaceError"} and not any(words in said for words in _REFUSED):
        return unavailable(where, said)
    return StateError(f"the state store {where} cannot be used: {said}", hint="check the URL, the user and the server")


def unavailable(where: str, why: str) -> StateUnavailable:
    """Build the error of a database that does not answer now."""
    return StateUnavailable(
        f"the state store {where} does not answer: {why}", hint="nothing is lost; try again when the database is back"
    )


_FULL = frozenset({"53100", "58030"})
"""disk_full and io_error, see PostgreSQL's manual, appendix A."""
_REFUSED = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password", "permission denied")
"""What a server says when trying again is of no use; while connecting, drivers give words and no code."""


def _of_sqlite(error: sqlite3.Error, where: str) -> EdgewrightError:
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
            return StateUnavailable(
                f"the state store {where} is busy: {error}", hint="another process is writing; run again in a moment"
            )
        case _:
            return StateError(
                f"the state store {where} cannot be used: {error}",
                hint="if another edgewright is upgrading it, run again; else restore it from a backup",
            )


def damaged(where: str, why: str) -> StateError:
    """Build the error of a store that is not what edgewright wrote."""
    return StateError(
        f"the state store {where} is damaged or is no database: {why}",
        hint="restore it from a backup, or move it away: apply then rebuilds what it knew",
    )


@contextmanager
def sqlite_errors(where: str) -> Iterator[None]:
    """Translate errors of the standard library's driver.

    Raises:
        StateError, StorageFull, StateUnavailable: As in translate.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, where) from error


def lease_lost() -> LeaseLost:
    """Build the error of a lease that another process has taken over."""
    return LeaseLost(
        "another process has taken over the lease of this environment",
        hint="nothing more is written; run edgewright status to see what it does",
    )


UNREADABLE = (ValueError, KeyError, TypeError)
"""What decoding a row raises when it holds something unexpected."""


def unreadable(what: str, error: Exception) -> StateError:
    """Build the error of a value that is damaged, or that only a newer edgewright knows."""
    return StateError(
        f"{what} in the state store cannot be read: {error}",
        hint="upgrade edgewright if a newer one has written it; else restore the store from a backup",
    )


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Translate errors of decoding a row.

    Raises:
        StateError: As in unreadable.
    """
    try:
        yield
    except UNREADABLE as error:
        raise unreadable(what, error) from error
