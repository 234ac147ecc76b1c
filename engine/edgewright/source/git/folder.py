"""The folder of a mirror: its bare repository, made, cleaned, replaced; and what of it is kept. Called by ``mirrors``
and ``local``.

::

    repository.git/     the mirror; refs/edgewright/kept/<id> keep what was followed readable
    fresh.git/          a mirror being made because repository.git is damaged
    damaged.git/        the one it replaced; removed at once
    listing.json        the remote's refs as of the last fetch, and what each follow led to
    kept.json           when each kept object was last of use
    tidied.json         when what nothing refers to was last removed
    lock                held by whoever changes any of these
"""

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from edgewright import durable
from edgewright.errors import SourceError, SourceUnavailable, StorageFull
from edgewright.source.git.commands import AGAIN, Commands, GitFailed

KEPT = "refs/edgewright/kept/"
_KEEP = 200
"""Objects kept readable: the last of use."""
_KEPT_SECONDS = 3 * 86400.0
"""How long those are kept that are not of use any more."""
_TIDY_SECONDS = 86400.0
_MANY_PACKS = 40
_POLL = 0.05
_SETTLED: Mapping[str, bytes] = {
    "HEAD": b"ref: refs/heads/main\n",
    "config": b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n",
}
"""The files of a mirror that are always the same."""


class Folder:
    """A mirror's files."""

    def __init__(self, path: Path, commands: Commands) -> None:
        self.path = path
        self.git_dir = path / "repository.git"
        self._commands = commands
        self._thread = threading.RLock()
        self._depth = 0
        self.descriptor = -1
        """The lock, while it is held: for git to hold too, should this process be killed before it."""

    @contextlib.contextmanager
    def held(self, waiting: float) -> Iterator[None]:
        """Hold the folder alone, among threads and processes.

        Raises:
            SourceUnavailable: Another process holds it for longer than ``waiting`` seconds.
            SourceError: The folder cannot be written.
        """
        with self._thread:
            if self._depth:
                yield
                return
            try:
                durable.make_folder(self.path, mode=0o700)
                lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                message = f"the mirror in {self.path} cannot be written: {error.strerror}"
                raise SourceError(message, hint="choose another folder for the state") from error
            try:
                self._lock(lock, waiting)
                self.descriptor, self._depth = lock, 1
                yield
            finally:
                self.descriptor, self._depth = -1, 0
                os.close(lock)

    def _lock(self, lock: int, waiting: float) -> None:
        end = time.monotonic() + waiting
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    message = f"another process has been fetching into {self.path} for {waiting:g} seconds"
                    raise SourceUnavailable(message, hint=AGAIN) from None
            time.sleep(_POLL)

    def prepare(self) -> bool:
        """Make the repository, or clean up what a process left that was killed; tells whether it had to be made.

        Raises:
            SourceError: git is not installed.
        """
        damaged = self.path / "damaged.git"
        if not self.git_dir.is_dir() and damaged.is_dir():
            damaged.replace(self.git_dir)
        for left in (damaged, self.path / "fresh.git"):
            shutil.rmtree(left, ignore_errors=True)
        durable.remove_leftovers(self.path, before=time.time())
        if not (self.git_dir / "objects").is_dir():
            self.make(self.git_dir)
            return True
        _remove_unfinished(self.git_dir)
        if not self.is_settled():
            for name, text in _SETTLED.items():
                durable.write_atomic(self.git_dir / name, text)
        return False

    def is_settled(self) -> bool:
        """Return whether git finds a repository there, sound or not."""
        try:
            return all((self.git_dir / name).read_bytes() == text for name, text in _SETTLED.items())
        except OSError:
            return False

    def make(self, git_dir: Path) -> None:
        """Make an empty bare repository."""
        shutil.rmtree(git_dir, ignore_errors=True)
        with durable.space_for(git_dir):
            (git_dir / "objects").mkdir(parents=True)
        options = ("--quiet", "--bare", "--template=", "--initial-branch=main", "--object-format=sha1")
        self._commands.run(git_dir, "init", *options)
        for name, text in _SETTLED.items():
            durable.write_atomic(git_dir / name, text)

    def replace(self) -> None:
        """Put ``fresh.git`` in the repository's place."""
        damaged = self.path / "damaged.git"
        if self.git_dir.exists():
            durable.rename(self.git_dir, damaged)
        durable.rename(self.path / "fresh.git", self.git_dir)
        durable.sync_folder(self.path)
        shutil.rmtree(damaged, ignore_errors=True)

    def identity(self) -> tuple[int, int]:
        """Return the identity of the repository's folder: device and inode; it changes when it is replaced."""
        try:
            status = self.git_dir.stat()
        except OSError:
            return (0, 0)
        return status.st_dev, status.st_ino

    def keep(self, used: Iterable[str]) -> None:
        """Note that objects are of use; forgets the refs of all but those that were last. Raises StorageFull."""
        refs = self._commands.run(self.git_dir, "for-each-ref", "--format=%(refname)", KEPT).split()
        kept = [ref.removeprefix(KEPT) for ref in refs]
        now = time.time()
        noted = {name: at for name, at in self.read("kept.json").items() if isinstance(at, int | float)}
        times = {name: noted.get(name, now) for name in kept}
        wanted = set(used)
        lines = [f"update {KEPT}{name} {name}\n" for name in wanted - times.keys()]
        times |= dict.fromkeys(wanted, now)
        newest = sorted(times, key=lambda name: (times[name], name), reverse=True)
        old = {name for name in newest if name not in wanted and abs(now - times[name]) > _KEPT_SECONDS}
        for name in dict.fromkeys([*newest[max(_KEEP, len(wanted)) :], *sorted(old)]):
            del times[name]
            lines.append(f"delete {KEPT}{name}\n")
        if lines:
            self._commands.run(self.git_dir, "update-ref", "--stdin", given="".join(lines))
        self.write("kept.json", times)

    def tidy(self) -> None:
        """Put many small packs together, and remove what nothing kept refers to; when it fails, next time.

        Once a day at least: what a closed pull request brought is not to stay.
        """
        packs = list((self.git_dir / "objects/pack").glob("*.pack"))
        noted, now = self.read("tidied.json").get("at"), time.time()
        is_due = not isinstance(noted, int | float) or abs(now - noted) >= _TIDY_SECONDS
        if len(packs) > _MANY_PACKS or (is_due and packs):
            with contextlib.suppress(GitFailed, StorageFull):
                self._commands.run(self.git_dir, "gc", "--quiet", "--prune=now")
                self.write("tidied.json", {"at": now})

    def read(self, name: str) -> Mapping[str, object]:
        """Read one of the JSON files; one that is missing or damaged counts as empty."""
        try:
            found = json.loads((self.path / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, name: str, values: Mapping[str, object]) -> None:
        """Write one, durably.

        Raises:
            StorageFull: No space.
            SourceError: The folder cannot be written.
        """
        data = json.dumps(values, separators=(",", ":"), sort_keys=True).encode()
        try:
            if (self.path / name).read_bytes() == data:
                return
        except OSError:
            pass
        try:
            durable.write_atomic(self.path / name, data)
        except OSError as error:
            raise SourceError(f"cannot write {self.path / name}: {error.strerror}", hint="make it writable") from error


def _remove_unfinished(git_dir: Path) -> None:
    """Remove locks and half-written files. Whoever wrote them is dead: they were made under the folder's lock."""
    left = [*git_dir.glob("*.lock"), *(git_dir / "refs").rglob("*.lock"), *git_dir.glob("objects/info/*.lock")]
    left += [*git_dir.glob("objects/pack/tmp_*"), *git_dir.glob("objects/pack/.tmp-*"), *git_dir.glob("shallow_*")]
    left += [*git_dir.glob("objects/??/tmp_obj_*"), *git_dir.glob("objects/pack/*.keep")]
    for path in left:
        with contextlib.suppress(OSError):
            path.unlink()
    for folder in git_dir.glob("objects/tmp_objdir-*"):
        shutil.rmtree(folder, ignore_errors=True)
