"""A person's own repository, followed as it is. Implements ``ports.Upstream`` for ``upstreams``.

It is never written: what is merged goes to a repository of our own that borrows its objects.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from edgewright import durable
from edgewright.core.signatures import Signature
from edgewright.errors import SourceError, SourceUnavailable
from edgewright.ports.sources import Fetched, Merge
from edgewright.source.git.commands import AGAIN, Commands, GitFailed
from edgewright.source.git.folder import Folder
from edgewright.source.git.history import is_rewritten
from edgewright.source.git.merging import merge_commits
from edgewright.source.git.refs import Refs, overlooked_text, parse_remote
from edgewright.source.git.repositories import GitRepository
from edgewright.source.git.transports import NotGiven
from edgewright.source.upstream_reader import UpstreamReader, UpstreamSource
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Repository

_WAITING = 300.0


class LocalUpstream:
    """Follows the repository at or above a path."""

    def __init__(self, path: str | Path, folder: Path, *, cache: Path | None) -> None:
        """Find it.

        Args:
            path: In the repository.
            folder: For what is merged; made when it is needed.
            cache: The folder to keep parsed specs in; by default as for a GitSource.

        Raises:
            SourceError: There is no repository.
        """
        self._commands = Commands()
        self._merges = Folder(folder.absolute() / "merges", self._commands)
        borrowed = str(self._merges.git_dir / "objects")
        quoted = json.dumps(borrowed, ensure_ascii=False) if ":" in borrowed or '"' in borrowed else borrowed
        found = GitRepository(path, {"GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted, "GIT_NO_REPLACE_OBJECTS": "1"})
        self._git_dir = found.common_dir
        self._reader = UpstreamReader(found, cache or folder / "cache", lambda: None)
        self._leads: dict[str, str] = {}
        self._branch: str | None = None
        """The full name of the branch that HEAD led to at first; empty where it led to none."""
        self._lock = threading.Lock()

    def fetch(self, follows: Iterable[Follow]) -> Fetched:
        """Look at what is there now, as in ports.Upstream; nothing is fetched."""
        refs = self._refs()
        changed, rewritten, gone = [], [], []
        with self._lock:
            for follow in dict.fromkeys((None, *follows)):
                label = refs.label(follow)
                before = self._leads.get(label)
                try:
                    commit = self._reader.repository.commit(refs.find(follow).commit)
                except SourceError:
                    if before is not None:
                        gone.append(label)
                    continue
                if commit == before or label in changed:
                    continue
                changed.append(label)
                self._leads[label] = commit
                if before is not None and label.startswith("branch ") and self._is_rewritten(before, commit):
                    rewritten.append(label)
        if changed:
            self._reader.repository.close()
        return Fetched(tuple(changed), tuple(rewritten), tuple(gone))

    def resolve(self, follow: Follow | None) -> str:
        """Find the commit that is followed, as in ports.Upstream."""
        return self._reader.repository.commit(self._refs().find(follow).commit)

    @property
    def folder(self) -> str:
        """The folder of specs, as in ports.Upstream."""
        return self._reader.repository.prefix

    def branches(self, prefix: str) -> Mapping[str, str]:
        """List branches, as in ports.Upstream."""
        return self._refs().branches(prefix)

    def overlooked(self, follow: Follow | None) -> str:
        """Name tags that are no versions, as in ports.Upstream."""
        found = self._refs().overlooked(follow)
        return overlooked_text(found) if found else ""

    def default_branch(self) -> str:
        """Name the default branch, as in ports.Upstream."""
        return self._refs().default_branch()

    def check(self, follow: Follow | None, commit: str, trusted: str | None) -> Signature:
        """Check signatures, as in ports.Upstream."""
        found = None
        with suppress(SourceError):
            found = self._refs().find(follow)
        return self._reader.check(self._git_dir, follow, found, commit, trusted)

    def declared(self, commit: str) -> Repository | None:
        """Read a revision's Repository document alone, as in ports.Upstream."""
        return self._reader.declared(commit)

    def bring(self, ref: str) -> str:
        """Find one more ref or commit, as in ports.Upstream; it must be here already."""
        try:
            return self._reader.repository.commit(ref)
        except SourceError as error:
            hint = f"fetch it first (git fetch origin {ref}), or follow the remote repository"
            raise SourceError(f"{ref} is not in this repository", hint=hint) from error

    def merge(self, base: str, head: str) -> Merge:
        """Merge two commits, as in ports.Upstream."""
        base, head = self._reader.repository.commit(base), self._reader.repository.commit(head)
        with self._merges.held(_WAITING):
            try:
                self._merges.prepare()
                self._borrow()
                merged = merge_commits(self._commands, self._merges.git_dir, base, head, None)
                if merged.revision not in {None, base, head}:
                    self._merges.keep([str(merged.revision)])
                    self._merges.tidy()
            except GitFailed as error:
                message = f"{base[:12]} and {head[:12]} cannot be merged: {error.reason}"
                raise SourceUnavailable(message, hint=AGAIN) from error
        self._reader.repository.close()
        return merged

    def source(self, revision: Callable[[], str], environment: str = "") -> UpstreamSource:
        """Make a source, as in ports.Upstream."""
        return self._reader.source(revision, environment)

    def close(self) -> None:
        """End what runs; a later call starts it again."""
        self._commands.stop()
        self._reader.close()

    def _refs(self) -> Refs:
        """List the refs that are there now.

        The default branch is the one that was checked out at first: checking out another must not change devices.
        """
        repository = self._reader.repository
        try:
            shown = repository.run("show-ref", "--head", "--dereference")
        except SourceError as error:
            if not error.message.endswith("failed: "):
                raise
            shown = ""
        lines = [line.replace(" ", "\t", 1) for line in shown.splitlines()]
        with self._lock:
            if self._branch is None:
                self._branch = self._checked_out()
        refs = parse_remote("\n".join(lines))
        if not self._branch:
            return refs
        return Refs(self._branch, refs.objects.get(self._branch, ""), refs.objects)

    def _checked_out(self) -> str:
        try:
            return self._reader.repository.run("symbolic-ref", "--quiet", "HEAD").strip()
        except SourceError:
            return ""

    def _is_rewritten(self, old: str, new: str) -> bool:
        def deepen(commits: tuple[str, ...], depth: int) -> None:
            raise NotGiven("a repository of one's own is not fetched")

        return is_rewritten(self._commands, self._git_dir, old, new, deepen)

    def _borrow(self) -> None:
        """Link the objects, and the shallow boundary if any, into the merges' repository."""
        theirs, ours = self._git_dir, self._merges.git_dir
        durable.make_folder(ours / "objects/info")
        durable.write_atomic(ours / "objects/info/alternates", f"{_quoted(theirs / 'objects')}\n".encode())
        if (theirs / "shallow").is_file():
            durable.write_atomic(ours / "shallow", (theirs / "shallow").read_bytes())
        else:
            durable.remove(ours / "shallow")


def _quoted(path: Path) -> str:
    text = str(path)
    return json.dumps(text, ensure_ascii=False) if text.startswith(('"', "#")) or "\n" in text else text
