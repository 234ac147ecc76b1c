"""A folder of built bundles: each is built once for all callers, and rebuilt when it is lost. Called by ``maker``.

::

    <folder>/<key>/<name>        the bundle
    <folder>/<key>/facts.json    its size and digests; its modification time is the last use
    <folder>/locks/XX            locked while one of the keys with a digest of XX… is built

A bundle appears by renaming its folder, so it is there whole or not at all. Everything here may be removed at any time,
also by other processes; a file that is being sent stays open until it has been sent.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgewright import durable
from edgewright.errors import DeliveryUnavailable

LIMIT_BYTES = 4 << 30
_FACTS = "facts.json"
_DESCRIBED = ("size", "sha256", "sha1", "md5")
_LOCKS = "locks"
_CHUNK = 1 << 20
_STALE_SECONDS = 3600.0
"""Precision of the time of last use; and age at which temporary files of a crash are removed."""


@dataclass(frozen=True, slots=True)
class BuiltBundle:
    """A bundle's file, size and digests (hexadecimal)."""

    key: str
    path: Path
    size: int
    sha256: str
    sha1: str
    md5: str

    @property
    def name(self) -> str:
        """The file name."""
        return self.path.name


class BundleCache:
    """Bundles by key. Safe for several threads and processes.

    Args:
        folder: Folder of the bundles.
        limit: Bytes to keep; needed bundles are kept beyond that.
    """

    def __init__(self, folder: Path, *, limit: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit = limit
        self._checked: dict[str, int] = {}
        """Modification times of the bundles whose digest this process has checked."""

    def find(self, key: str) -> BuiltBundle | None:
        """Find a bundle that is there and intact."""
        home = self._folder / key
        try:
            facts = json.loads((home / _FACTS).read_bytes())
            found = BuiltBundle(key, home / facts["name"], *(facts[each] for each in _DESCRIBED))
            if not self._is_intact(found):
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        self._touch(home / _FACTS)
        return found

    def get(
        self,
        key: str,
        name: str,
        build: Callable[[Path], None],
        needed: Callable[[], Collection[str]] = tuple,
    ) -> BuiltBundle:
        """Find a bundle, or build it; concurrent callers wait for the build.

        Args:
            key: Digest of everything it is made from; a file name.
            name: Its file name.
            build: Writes it to a path in a folder of its own, where it may leave nothing else behind.
            needed: Gives the keys that must not be removed to make room.

        Raises:
            EdgewrightError: As ``build`` raises; nothing is kept then.
            DeliveryUnavailable, StorageFull: The folder cannot be written.
        """
        if (found := self.find(key)) is not None:
            return found
        try:
            with self._locked(key):
                if (found := self.find(key)) is None:
                    found = self._build(key, name, build)
                    self._make_room({key, *needed()})
            return found
        except OSError as error:
            raise DeliveryUnavailable(
                f"cannot use {self._folder}: {error.strerror or error}", hint="make the folder writable"
            ) from error

    def _build(self, key: str, name: str, build: Callable[[Path], None]) -> BuiltBundle:
        home = self._folder / key
        beside = durable.temporary_beside(home)
        try:
            durable.make_folder(beside)
            with durable.space_for(home):
                build(beside / name)
                built = _describe(key, beside / name)
            facts = {"name": name, **{each: getattr(built, each) for each in _DESCRIBED}}
            durable.write_atomic(beside / _FACTS, json.dumps(facts).encode())
            self._remove(home)
            durable.rename(beside, home)
            durable.sync_folder(self._folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return replace(built, path=home / name)

    def _is_intact(self, bundle: BuiltBundle) -> bool:
        """Check that a bundle is as it was built; each process reads it whole once."""
        status = bundle.path.stat()
        if status.st_size != bundle.size:
            return False
        if self._checked.get(bundle.key) != status.st_mtime_ns:
            if durable.digest_file(bundle.path) != f"sha256:{bundle.sha256}":
                return False
            self._checked[bundle.key] = status.st_mtime_ns
        return True

    def _make_room(self, needed: Collection[str]) -> None:
        """Remove the least recently used bundles until the rest fits, and temporary files of crashes."""
        now = time.time()
        kept: list[tuple[float, int, Path]] = []
        for home in self._folder.iterdir():
            if home.name == _LOCKS:
                continue
            with contextlib.suppress(OSError):
                if home.name.endswith(durable.TEMPORARY):
                    if home.stat().st_mtime < now - _STALE_SECONDS:
                        shutil.rmtree(home, ignore_errors=True)
                    continue
                size = sum(file.stat().st_size for file in home.iterdir())
                used = (home / _FACTS).stat().st_mtime if (home / _FACTS).exists() else 0.0
                kept.append((used, size, home))
        total = sum(size for _, size, _ in kept)
        for _, size, home in sorted(kept):
            if total <= self._limit:
                return
            if home.name not in needed:
                self._remove(home)
                total -= size

    def _remove(self, home: Path) -> None:
        """Remove a bundle atomically."""
        aside = durable.temporary_beside(home)
        with contextlib.suppress(FileNotFoundError):
            durable.rename(home, aside)
            shutil.rmtree(aside, ignore_errors=True)

    def _touch(self, facts: Path) -> None:
        with contextlib.suppress(OSError):
            if facts.stat().st_mtime < time.time() - _STALE_SECONDS:
                os.utime(facts)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        locks = self._folder / _LOCKS
        durable.make_folder(locks)
        handle = os.open(locks / hashlib.sha256(key.encode()).hexdigest()[:2], os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _describe(key: str, path: Path) -> BuiltBundle:
    """Return a file's size and digests, and sync it to disk."""
    digests = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            for digest in digests:
                digest.update(chunk)
        os.fsync(file.fileno())
    return BuiltBundle(key, path, size, *(digest.hexdigest() for digest in digests))
