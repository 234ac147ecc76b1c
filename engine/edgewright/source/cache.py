"""Results by Git object id, kept between runs in one SQLite file. Called by ``trees`` and ``assemble``.

It only ever saves work: when the file is missing, damaged, locked or read-only, everything is computed again. Values
carry a checksum, because a damaged value must not become a plan. The file's name holds a digest of the code that
computed the values, so that no version reads another's.
"""

import hashlib
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import edgewright_schemas
from edgewright import durable
from edgewright.errors import StorageFull
from edgewright.kept import is_ours

_MAX_BYTES = 256 << 20
_MAX_VARIABLES = 500
_PREFIX = "source-"


@lru_cache(maxsize=1)
def code_version() -> str:
    """Digest what the cached values depend on: this package's and the schemas' modules, by path, size and time."""
    folders = [Path(__file__).parent, Path(str(edgewright_schemas.__file__)).parent]
    described = [
        f"{file.relative_to(folder)}:{status.st_size}:{status.st_mtime_ns}"
        for folder in folders
        for file in sorted(folder.rglob("*.py"))
        if (status := file.stat())
    ]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _is_usable(file: Path) -> bool:
    """Return whether a cache is there, is no other user's, and is not too large."""
    try:
        status = file.lstat()
    except FileNotFoundError:
        return False
    return is_ours(status) and status.st_size <= _MAX_BYTES


class Cache:
    """Text by (kind, key)."""

    def __init__(self, folder: Path | None) -> None:
        """Open the cache below ``folder``, made when it is missing; None keeps nothing."""
        self._lock = threading.Lock()
        self._file = folder / f"{_PREFIX}{code_version()}.sqlite" if folder is not None else None
        self._db: sqlite3.Connection | None = None
        self._opened = False

    def get(self, kind: str, key: str) -> str | None:
        """Find one value."""
        return self.get_many(kind, (key,)).get(key)

    def get_many(self, kind: str, keys: Iterable[str]) -> dict[str, str]:
        """Find the values that are there, by key."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, str] = {}
        with self._lock:
            db = self._open()
            if db is None:
                return found
            try:
                for start in range(0, len(wanted), _MAX_VARIABLES):
                    part = wanted[start : start + _MAX_VARIABLES]
                    marks = ",".join("?" * len(part))
                    query = f"SELECT key, value, sum FROM entries WHERE kind = ? AND key IN ({marks})"  # noqa: S608  # only question marks are put in
                    found |= {
                        key: value
                        for key, value, checksum in db.execute(query, (kind, *part))
                        if isinstance(value, str) and zlib.crc32(value.encode()) == checksum
                    }
            except sqlite3.Error as error:
                self._give_up(error)
        return found

    def put(self, kind: str, values: Mapping[str, str]) -> None:
        """Keep values; one transaction."""
        if not values:
            return
        with self._lock:
            db = self._open()
            if db is None:
                return
            rows = [(kind, key, value, zlib.crc32(value.encode())) for key, value in values.items()]
            try:
                with db:
                    db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)
            except sqlite3.Error as error:
                self._give_up(error)

    def keep_newest(self, kind: str, count: int) -> None:
        """Forget all but the values of a kind that were put last."""
        with self._lock:
            db = self._open()
            if db is None:
                return
            try:
                with db:
                    newest = "SELECT rowid FROM entries WHERE kind = ? ORDER BY rowid DESC LIMIT ?"
                    db.execute(
                        f"DELETE FROM entries WHERE kind = ? AND rowid NOT IN ({newest})",  # noqa: S608  # a constant is put in
                        (kind, kind, count),
                    )
            except sqlite3.Error as error:
                self._give_up(error)

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db, self._opened = None, False

    def _open(self) -> sqlite3.Connection | None:
        if self._opened or self._file is None:
            return self._db
        self._opened = True
        try:
            durable.make_folder(self._file.parent, mode=0o700)
            if not _is_usable(self._file):
                for old in self._file.parent.glob(f"{_PREFIX}*"):
                    old.unlink(missing_ok=True)
            self._db = sqlite3.connect(self._file, timeout=2.0, check_same_thread=False)
            with self._db as db:
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS entries"
                    " (kind TEXT, key TEXT, value TEXT, sum INTEGER, PRIMARY KEY (kind, key))"
                )
        except (sqlite3.Error, OSError, StorageFull) as error:
            self._give_up(error)
        return self._db

    def _give_up(self, error: Exception) -> None:
        """Do without from here on; a damaged file is removed so that the next run starts a new one."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None
        is_damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if is_damaged and self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
