"""Desired state of uncommitted edits. Implements ``ports.SnapshotSource`` for ``--worktree`` and ``watch``.

The work folder is read as the tree Git would write if everything in it were committed: its ids are Git's ids, so an
unedited file or folder has the digest it has in the commit, and nothing is rebuilt for lack of one.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgewright.core.snapshot import WORKTREE, Snapshot
from edgewright.errors import SourceError
from edgewright.source.cache import Cache
from edgewright.source.checkouts import blob_id, file_id, refusals_as_source_errors, write_checkout
from edgewright.source.commits import STATE_FOLDER, default_cache
from edgewright.source.git.repositories import GitRepository
from edgewright.source.specs.assemble import assemble
from edgewright.source.trees import Entry, Tree
from edgewright_schemas.repository import Repository

_SETTLED_NS = 2_000_000_000
"""A file changed more recently may change again within the same timestamp; its id is not remembered."""

_Folder = dict[str, "_Folder | tuple[int, str]"]


class WorktreeSource:
    """Reads files that are tracked, or untracked and not ignored, as they are now."""

    def __init__(self, location: str | Path, *, cache: Path | None = None, environment: str = "") -> None:
        """Read the work folder of the repository at or above ``location``, as an environment sees it.

        Raises:
            SourceError: No repository, or a bare one.
        """
        self._repository = GitRepository(location)
        if self._repository.is_bare:
            raise SourceError(f"{self._repository.top} is bare: it has no work tree", hint="leave --worktree out")
        self._cache = Cache(cache or default_cache(self._repository))
        self._now: _Objects | None = None
        self.environment = environment

    @property
    def root(self) -> Path:
        """The folder that spec paths are relative to."""
        return self._repository.root

    def revision(self) -> str:
        """Digest what is there now: ``worktree:`` and the id of the root folder.

        Raises:
            SourceError: A file cannot be read.
        """
        return self._look().revision

    def snapshot(self) -> Snapshot:
        """Read and check everything as it is now.

        Raises:
            SpecError: With every problem found.
            SourceError: A file cannot be read, or changed meanwhile; or there is no such environment.
        """
        now = self._look()
        return assemble(Tree(now, now.root_id, self._cache), now.revision, self.environment)

    def declared(self) -> Repository | None:
        """Read the Repository document alone; None where there is none.

        Raises:
            SpecError: It is wrong.
            SourceError: It cannot be read.
        """
        from edgewright.source.specs.environments import declared

        now = self._look()
        return declared(Tree(now, now.root_id, self._cache))

    def materialize(self, revision: str, paths: Sequence[str], into: Path) -> None:
        """Write files and folders below ``into``; what is there already and equal stays.

        Raises:
            SourceError: The files are no longer those of the revision, or as for a commit.
            StorageFull: No space.
        """
        write_checkout(self._tree(revision), paths, into)

    def read(self, revision: str, path: str) -> bytes:
        """Read one file.

        Raises:
            SourceError: As in materialize.
        """
        with refusals_as_source_errors():
            return self._tree(revision).read(path)

    def close(self) -> None:
        """End the Git processes and close the cache; a later call opens them again."""
        self._repository.close()
        self._cache.close()

    def _tree(self, revision: str) -> Tree:
        now = self._now
        if now is None or now.revision != revision:
            now = self._look()
        if now.revision != revision:
            raise SourceError("the work folder has changed since", hint="plan again, or commit and plan the commit")
        return Tree(now, now.root_id, self._cache)

    def _look(self) -> "_Objects":
        self._now = _Objects(self._repository, _list_files(self._repository, self._cache))
        return self._now


class _Objects:
    """The work folder as Git objects; implements ``trees.Objects``."""

    def __init__(self, repository: GitRepository, files: Iterable[tuple[str, int, str, bool]]) -> None:
        self._repository = repository
        self._trees: dict[str, tuple[Entry, ...]] = {}
        self._on_disk: dict[str, Path] = {}
        top: _Folder = {}
        for path, mode, object_id, is_on_disk in files:
            *folders, name = path.split("/")
            folder = top
            for part in folders:
                below = folder.setdefault(part, {})
                if not isinstance(below, dict):
                    break  # A file took the folder's place; the file is what is there.
                folder = below
            else:
                folder[name] = (mode, object_id)
                if is_on_disk:
                    self._on_disk[object_id] = repository.root / path
        self.root_id = self._write(top)
        self.revision = f"{WORKTREE}:{self.root_id}"

    def _write(self, folder: _Folder) -> str:
        entries = []
        for name, value in folder.items():
            if isinstance(value, dict):
                entries.append(Entry(stat.S_IFDIR, self._write(value), name))
            else:
                entries.append(Entry(*value, name))
        # Git sorts folders as if their names ended with a slash.
        entries.sort(key=lambda e: os.fsencode(e.name) + (b"/" if e.is_folder else b""))
        body = b"".join(b"%o %s\0" % (e.mode, os.fsencode(e.name)) + bytes.fromhex(e.id) for e in entries)
        tree_id = hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        self._trees[tree_id] = tuple(entries)
        return tree_id

    def tree(self, tree_id: str) -> Sequence[Entry]:
        """List a folder."""
        return self._trees[tree_id]

    def blob(self, blob: str, limit: int | None = None) -> bytes:
        """Read a file's bytes, as in ``trees.Objects``.

        Raises:
            SourceError: They cannot be read, or have changed.
        """
        path = self._on_disk.get(blob)
        if path is None:
            return self._repository.blob(blob, limit)
        try:
            data = _link_target(path) if path.is_symlink() else _read(path, limit)
        except OSError as error:
            raise SourceError(f"cannot read {path}: {error.strerror}") from error
        is_cut = limit is not None and len(data) > limit
        if not is_cut and blob_id(data) != blob:
            raise SourceError(f"{path} changed while it was read", hint="run it again")
        return data

    def size(self, blob: str) -> int:
        """Return the number of a file's bytes.

        Raises:
            SourceError: It cannot be read.
        """
        path = self._on_disk.get(blob)
        try:
            return self._repository.size(blob) if path is None else path.lstat().st_size
        except OSError as error:
            raise SourceError(f"cannot read {path}: {error.strerror}") from error


def _list_files(repository: GitRepository, cache: Cache) -> Iterator[tuple[str, int, str, bool]]:
    """List (path, mode, id, whether to read it from disk)."""

    def listed(*options: str) -> list[str]:
        return repository.run("ls-files", "-z", *options, cwd=repository.root).split("\0")[:-1]

    deleted = set(listed("--deleted"))
    edited = set(listed("--modified")) - deleted
    for line in listed("--stage"):
        facts, _, path = line.partition("\t")
        mode, object_id, stage = facts.split(" ")
        if path in deleted or path in edited:
            continue
        if stage == "0":
            yield path, int(mode, 8), object_id, False
        else:
            edited.add(path)
    untracked = [path for path in listed("--others", "--exclude-standard") if not path.endswith("/")]
    changed = sorted(edited | {path for path in untracked if path.split("/")[0] != STATE_FOLDER})
    yield from _hash(repository.root, changed, cache)


def _read(path: Path, limit: int | None) -> bytes:
    with path.open("rb") as stream:
        return stream.read(-1 if limit is None else limit + 1)


def _link_target(path: Path) -> bytes:
    return os.fsencode(os.readlink(path))  # noqa: PTH115  # Path would normalise the target, and change its id


def _hash(root: Path, paths: Sequence[str], cache: Cache) -> Iterator[tuple[str, int, str, bool]]:
    """Compute ids; those of files whose size and times have not changed are remembered."""
    known = cache.get_many("stat", paths)
    fresh: dict[str, str] = {}
    for path in paths:
        file = root / path
        try:
            status = file.lstat()
            if stat.S_ISLNK(status.st_mode):
                yield path, stat.S_IFLNK, blob_id(_link_target(file)), True
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            facts = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
            seen, _, object_id = known.get(path, "").partition(" ")
            if seen != facts:
                object_id = file_id(file)
                if max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - _SETTLED_NS:
                    fresh[path] = f"{facts} {object_id}"
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SourceError(f"cannot read {file}: {error.strerror}") from error
        yield path, 0o100755 if status.st_mode & 0o100 else 0o100644, object_id, True
    cache.put("stat", fresh)
