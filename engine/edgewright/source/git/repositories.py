"""A Git repository through GitPython: found, its refs resolved, its objects read.

Called by ``git`` and ``worktree``.
"""

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from edgewright.core.suggestions import suggestion
from edgewright.errors import SourceError
from edgewright.source.trees import Entry
from edgewright_schemas.names import REPOSITORY_FILE

if TYPE_CHECKING:  # GitPython is imported when the first object is read: what is cached needs none
    import git

_SHA1_LENGTH = 40


class GitRepository:
    """One repository, and the folder in it that spec paths are relative to. Implements ``trees.Objects``.

    Only objects and refs are read; the work tree and the index are never written.
    """

    def __init__(self, location: str | Path, variables: Mapping[str, str] | None = None) -> None:
        """Find the repository at or above ``location``, a path or a ``file://`` URL.

        Args:
            location: Where to look.
            variables: Of the environment, for the git that reads it.

        Raises:
            SourceError: There is none, or it is a URL of another kind.
        """
        folder = _local(location)
        if folder.is_file():
            folder = folder.parent
        if not folder.is_dir():
            raise SourceError(f"there is no folder {folder}", hint="give the path of a Git repository")
        self._git_dir, top = _discover(folder, variables or {})
        self.is_bare = top is None
        self.top = (top or self._git_dir).resolve()
        self.root = self.top if self.is_bare else _spec_root(folder.resolve(), self.top)
        """The folder of ``edgewright.yaml``; without one, the repository's own."""
        self.prefix = "" if self.is_bare else self.root.relative_to(self.top).as_posix().removeprefix(".")
        self._environment = self._explicit_environment() | dict(variables or {})
        self.is_damaged = False
        """Whether an object could not be read."""
        self._trees: dict[str, tuple[Entry, ...]] = {}
        self._lock = threading.RLock()

    def _explicit_environment(self) -> dict[str, str]:
        """Name this repository to git where a hook's GIT_DIR would name another one.

        Only there: git does not check who owns a repository that is named so.
        """
        if "GIT_DIR" not in os.environ:
            return {}
        named = {"GIT_DIR": str(self._git_dir.resolve())}
        return named if self.is_bare else named | {"GIT_WORK_TREE": str(self.top)}

    @cached_property
    def _repo(self) -> "git.Repo":
        import git

        repo = git.Repo(self._git_dir if self.is_bare else self.top, expand_vars=False)
        repo.git.update_environment(**self._environment)
        return repo

    @cached_property
    def common_dir(self) -> Path:
        """The Git folder that holds its objects and refs, shared by all of its work trees."""
        return Path(self.run("rev-parse", "--path-format=absolute", "--git-common-dir").strip())

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run a reading git command, and return what it prints.

        Raises:
            SourceError: It fails.
        """
        return _git(arguments, cwd or self.top, os.environ | self._environment)

    def commit(self, ref: str | None) -> str:
        """Resolve a branch, tag or commit (default: HEAD) to a commit id.

        Raises:
            SourceError: It is unknown, or the branch has no commit yet.
        """
        name = ref or "HEAD"
        if not name.startswith("-") and name.isprintable():
            try:
                found = self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
            except SourceError as error:
                if "dubious ownership" in error.message:
                    raise
                found = ""
            if len(found) == _SHA1_LENGTH:
                return found
            if found:
                raise SourceError("repositories with SHA-256 object ids are not supported", hint="use a SHA-1 one")
        raise self._unknown(ref)

    def _unknown(self, ref: str | None) -> SourceError:
        names = self.run("for-each-ref", "--format=%(refname:short)").split()
        if ref is None or ref == "HEAD":
            try:
                branch = self.run("symbolic-ref", "--short", "HEAD").strip()
            except SourceError:
                return SourceError("HEAD leads to no commit", hint=suggestion("main", names))
            hint = (
                f"commit something, or name one of {', '.join(names[:8])} with --ref" if names else "commit something"
            )
            return SourceError(f"branch {branch!r} has no commit yet", hint=f"{hint} (or use --worktree)")
        hint = suggestion(ref, names) if names else "the repository has no commit yet"
        return SourceError(f"there is no branch, tag or commit {ref!r}", hint=hint)

    def root_tree(self, commit: str) -> str:
        """Find the id of the spec root in a commit.

        Raises:
            SourceError: The commit, or the folder in it, is not there.
        """
        header = self._object(commit, b"commit").split(b"\n", 1)[0]
        tree = header.removeprefix(b"tree ").decode("ascii")
        for part in filter(None, self.prefix.split("/")):
            entry = next((e for e in self.tree(tree) if e.name == part and e.is_folder), None)
            if entry is None:
                raise SourceError(f"there is no folder {self.prefix} in commit {commit[:12]}", hint="commit it")
            tree = entry.id
        return tree

    def tree(self, tree_id: str) -> Sequence[Entry]:
        """List a folder.

        Raises:
            SourceError: It cannot be read.
        """
        found = self._trees.get(tree_id)
        if found is None:
            from git.objects.fun import tree_entries_from_data

            data = self._object(tree_id, b"tree")
            try:
                entries = tree_entries_from_data(data)
            except ValueError as error:  # checked out, such a name would be written beside the place it belongs to
                message = f"Git object {tree_id} is no folder as Git makes them: {error}"
                raise SourceError(message, hint="find out who pushed it") from error
            found = tuple(Entry(mode, sha.hex(), str(name)) for sha, mode, name in entries)
            self._trees[tree_id] = found
        return found

    def blob(self, blob_id: str, limit: int | None = None) -> bytes:
        """Read a file's bytes, as in ``trees.Objects``.

        Raises:
            SourceError: They cannot be read.
        """
        return self._object(blob_id, b"blob", limit)

    def size(self, blob_id: str) -> int:
        """Return the number of a file's bytes, as in ``trees.Objects``.

        Raises:
            SourceError: It cannot be read.
        """
        with self._reading(blob_id):
            return int(self._repo.odb.info(bytes.fromhex(blob_id)).size)

    @contextmanager
    def _reading(self, object_id: str) -> Iterator[None]:
        """Hold Git's process, and report what it cannot read."""
        import git
        from git.exc import ODBError

        with self._lock:
            try:
                yield
            except (ValueError, ODBError, git.GitCommandError, OSError) as error:
                self.is_damaged = True
                hint = "the repository is damaged or shallow; run `git fsck`, or fetch the missing history"
                raise SourceError(f"Git object {object_id} cannot be read", hint=hint) from error

    def _object(self, object_id: str, expected: bytes, limit: int | None = None) -> bytes:
        with self._reading(object_id):
            stream = self._repo.odb.stream(bytes.fromhex(object_id))
            data: bytes = stream.read(-1 if limit is None else limit + 1)
        if stream.type != expected:
            raise SourceError(f"Git object {object_id} is a {stream.type.decode()}, not a {expected.decode()}")
        return data

    def close(self) -> None:
        """End the Git processes behind it; a later call starts them again."""
        with self._lock:
            if "_repo" in self.__dict__:
                self._repo.close()
            self._trees.clear()


def _discover(folder: Path, variables: Mapping[str, str]) -> tuple[Path, Path | None]:
    """Find the Git folder and the work tree (None: bare) that ``folder`` is in.

    Raises:
        SourceError: It is in no repository, or git is not installed.
    """
    # What names a repository in the environment, as in hooks, names another one than the folder's.
    environment = {name: value for name, value in os.environ.items() if name not in {"GIT_DIR", "GIT_WORK_TREE"}}
    environment |= variables
    wanted = ("rev-parse", "--is-bare-repository", "--absolute-git-dir", "--show-cdup")
    try:
        bare, git_dir, up = _git(wanted, folder, environment).split("\n")[:3]
    except SourceError as error:
        if "not a git repository" not in error.message:
            raise
        hint = "run `git init` there, or give the path of a repository"
        raise SourceError(f"{folder} is in no Git repository", hint=hint) from error
    return Path(git_dir), None if bare == "true" else folder / up


def _git(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    # Messages are told apart by their words, so they must be in English.
    variables = {**environment, "LC_ALL": "C"}
    try:
        ended = subprocess.run(["git", *arguments], cwd=folder, env=variables, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise SourceError("the git program is not installed", hint="install git") from error
    if ended.returncode:
        reason = ended.stderr.decode("utf-8", "replace").strip()
        raise SourceError(f"git {arguments[0]} failed: {reason}")
    return ended.stdout.decode("utf-8", "surrogateescape")


def _local(location: str | Path) -> Path:
    text = str(location)
    if isinstance(location, str) and "://" in text:
        parts = urlsplit(text)
        if parts.scheme != "file":
            raise SourceError(
                f"{parts.scheme}://{parts.hostname or ''} is a remote repository",
                hint="clone it and give the path of the clone, or follow it with edgewright serve",
            )
        text = unquote(parts.path)
    return Path(text).expanduser().absolute()


def _spec_root(folder: Path, top: Path) -> Path:
    """Find the nearest folder with edgewright.yaml, from ``folder`` up to the repository's own."""
    while folder != top and top in folder.parents:
        if (folder / REPOSITORY_FILE).is_file():
            return folder
        folder = folder.parent
    return top
