"""Answers that are kept between runs, each with everything that it was found from. Called by ``wiring``.

An answer is believed only where all of that is as it was: the inputs that name it, and every file on which it rests.
Files whose content was read are compared by what their stat says, those that were only looked for by their size, which
is all that was asked of them. Nothing here is imported that takes time: it runs where a command may be over before its
libraries would have been loaded.
"""

import errno
import hashlib
import json
import os
import platform
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from edgewright import durable
from edgewright.errors import StorageFull

FORMAT = 1
_SETTLED_NS = 2_000_000_000
"""A file this young may change once more without another stat."""
_MOST_BYTES = 64 << 20
_PREFIX = "answer-"
_PACKAGES = ("edgewright", "edgewright_schemas", "edgewright_wire", "edgewright_templates")
_LIBRARIES = ("pydantic", "pydantic_core")
_MISSING = -1

Stat = tuple[int, int, int, int, int]
"""Device, inode, size, times of modification and change in nanoseconds."""


class Grounds(NamedTuple):
    """Everything on disk that an answer rests on."""

    read: Mapping[str, Stat | None]
    """Files that were read, by path; None: nothing was there."""
    sizes: Mapping[str, int]
    """Files that were looked for, by path; -1: nothing was there."""


def stat_of(path: str) -> Stat | None:
    """Look at a file; None where there is none, or an empty one: SQLite's log is either while nobody writes.

    Raises:
        OSError: It cannot be looked at.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands are looked at in one plan
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not found.st_size:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def size_of(path: str) -> int:
    """Measure a file; -1 where there is none, or it cannot be looked at."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as above
    except OSError:
        return _MISSING


@lru_cache(maxsize=1)
def engine() -> str:
    """Digest what computes answers: Python, the engine's modules by path, size and time, and the libraries it uses."""
    described = [sys.version, platform.platform(), str(sys.flags.optimize)]
    for name in _PACKAGES:
        described += sorted(_modules(_folder_of(name)))
    for name in _LIBRARIES:
        described.append(f"{name}:{stat_of(f'{_folder_of(name)}/__init__.py')}")
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _folder_of(package: str) -> str:
    from importlib.util import find_spec

    module = sys.modules.get(package)
    origin = module.__file__ if module is not None else getattr(find_spec(package), "origin", None)
    return os.path.dirname(str(origin))  # noqa: PTH120 - as above


def _modules(folder: str) -> list[str]:
    found: list[str] = []
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending.append(entry.path)
                elif entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append(f"{entry.path}:{status.st_size}:{status.st_mtime_ns}")
    return found


class KeptAnswers:
    """Answers in one folder, which only its owner may write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, question: Mapping[str, str]) -> Any | None:
        """Find the answer to a question, if everything that it rests on is as it was.

        Args:
            question: What names it, such as the commit and the environment.
        """
        try:
            kept = _read(self._file(question))
            if kept is None or kept["format"] != FORMAT or kept["question"] != dict(question):
                return None
            if kept["engine"] != engine() or not _hold(kept["read"], kept["sizes"]):
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return kept["answer"]

    def keep(self, question: Mapping[str, str], answer: Any, grounds: Grounds, begun_ns: int) -> bool:
        """Keep an answer; not where a file it rests on may have changed since.

        Args:
            question: What names it.
            answer: JSON values.
            grounds: What it rests on, looked at when it was there.
            begun_ns: When its computation began: what is not older by two seconds may have been read before it changed,
                or change once more without another stat.

        Returns whether it was kept: what cannot be written costs time, never an answer.
        """
        newest = max((max(found[3:]) for found in grounds.read.values() if found is not None), default=0)
        if newest > begun_ns - _SETTLED_NS:
            return False
        value = {
            "format": FORMAT,
            "engine": engine(),
            "question": dict(question),
            "read": {path: list(found) if found else None for path, found in grounds.read.items()},
            "sizes": _by_folder(grounds.sizes),
            "answer": answer,
        }
        try:
            body = json.dumps(value, separators=(",", ":")).encode()
            if len(body) > _MOST_BYTES:
                return False
            durable.make_folder(self._folder, mode=0o700)
            durable.write_atomic(self._file(question), _sum(body) + b"\n" + body, mode=0o600)
        except (OSError, StorageFull, ValueError, TypeError):
            return False
        return True

    def forget(self, question: Mapping[str, str]) -> None:
        """Remove an answer."""
        with suppress(OSError):
            self._file(question).unlink(missing_ok=True)

    def _file(self, question: Mapping[str, str]) -> Path:
        # Without the commit: the answer for the next one takes its place, so that they do not pile up.
        named = {key: value for key, value in question.items() if key != "commit"}
        text = json.dumps(named, sort_keys=True)
        return self._folder / f"{_PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def is_ours(status: os.stat_result) -> bool:
    """Return whether a file is this user's, and no other user may write it."""
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def read_ours(path: Path) -> bytes:
    """Read a file that no other user can have written.

    Raises:
        PermissionError: Another user can.
        OSError: It cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 - of a handle
        if not is_ours(os.fstat(file.fileno())):
            raise PermissionError(errno.EPERM, "another user may have written it", str(path))
        return file.read()


def _read(path: Path) -> Any:
    """Read an answer; None where it is not whole."""
    head, _, body = read_ours(path).partition(b"\n")
    return json.loads(body) if head == _sum(body) else None


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _by_folder(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for path, size in sizes.items():
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, {})[name] = size
    return found


def _hold(read: Mapping[str, Any], sizes: Mapping[str, Mapping[str, int]]) -> bool:
    """Return whether everything is as it was."""
    for path, before in read.items():
        found = stat_of(path)
        if (list(found) if found is not None else None) != before:
            return False
    return all(size_of(f"{folder}/{name}") == size for folder, names in sizes.items() for name, size in names.items())
