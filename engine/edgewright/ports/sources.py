"""Reading what is desired, and looking at data outside Git. Implemented by ``source`` and ``build.sources``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgewright.core.planning.observed import SourceState
from edgewright.core.signatures import Signature
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.dataset import Source as DatasetSource
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Repository


class SnapshotSource(Protocol):
    """Reads desired state from Git without touching anyone's work tree."""

    def revision(self) -> str:
        """Resolve what is followed to a commit (or ``worktree:<digest>``).

        Raises:
            SourceError: No repository, unborn branch, unknown ref.
        """
        ...

    def snapshot(self) -> Snapshot:
        """Read and check everything at the current revision.

        Raises:
            SpecError: With every problem found.
            SourceError: As in revision.
        """
        ...

    def materialize(self, revision: str, paths: Sequence[str], into: Path) -> None:
        """Write files and folders of a revision below ``into``; what is there already and equal stays.

        Raises:
            SourceError: The revision or a path is not there, or a link leads out of the repository.
        """
        ...

    def read(self, revision: str, path: str) -> bytes:
        """Read one file of a revision.

        Raises:
            SourceError: As in materialize.
        """
        ...


class SourceObserver(Protocol):
    """Looks at dataset sources outside Git."""

    def observe(self, source: DatasetSource) -> SourceState:
        """Digest what is there now; unchanged files are not read again."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """Result of one fetch."""

    changed: tuple[str, ...] = ()
    """Followed refs that lead elsewhere now."""
    rewritten: tuple[str, ...] = ()
    """Those whose old commit is no ancestor of the new one (a force push), as far as the history at hand tells."""
    gone: tuple[str, ...] = ()
    """Those that are no longer there."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Two revisions, merged in memory."""

    revision: str | None
    """A commit holding the result; None where they conflict."""
    conflicts: tuple[str, ...] = ()
    """Paths that both changed."""
    base: str = ""
    """The revision both come from; empty where the history at hand does not reach it."""


class Upstream(Protocol):
    """A Git repository that is followed: a mirror of a remote one, or a local one as it is."""

    @property
    def folder(self) -> str:
        """The folder of the repository that specs are read from; empty: its top."""
        ...

    def branches(self, prefix: str) -> Mapping[str, str]:
        """List the branches whose names begin so, with their commits, as of the last fetch."""
        ...

    def fetch(self, follows: Iterable[Follow]) -> Fetched:
        """Fetch what is followed (and the default branch); one fetch at a time, safe from several threads.

        What was there stays usable when it fails; a fetch that was cut off is repeated harmlessly.

        Raises:
            SourceUnavailable: The remote does not answer.
            SourceError: It refuses (credentials), or is no Git repository.
        """
        ...

    def resolve(self, follow: Follow | None) -> str:
        """Find the commit that is followed (None: the default branch), as of the last fetch.

        Raises:
            SourceError: There is no such branch, tag or version, with the nearest there is.
        """
        ...

    def overlooked(self, follow: Follow | None) -> str:
        """Name the tags that look like newer versions in a followed range, and are none; empty without any."""
        ...

    def default_branch(self) -> str:
        """Name the branch that None stands for, as of the last fetch; of a local repository, as of the first look.

        Raises:
            SourceError: HEAD leads to no branch.
        """
        ...

    def check(self, follow: Follow | None, commit: str, trusted: str | None) -> Signature:
        """Check the signatures of a commit (and of the tag that led to it).

        Args:
            follow: What led to the commit.
            commit: The candidate.
            trusted: The revision whose verification rules and keys apply; None: none was accepted yet, so the
                candidate's own apply (trust on first use).

        Raises:
            SourceError: The rules cannot be read.
        """
        ...

    def declared(self, commit: str) -> Repository | None:
        """Read a revision's Repository document alone; None where there is none.

        Raises:
            SpecError: It is wrong.
            SourceError: The commit is not there.
        """
        ...

    def bring(self, ref: str) -> str:
        """Fetch one more ref or commit, such as ``refs/pull/7/head``, and return its commit.

        Raises:
            SourceUnavailable, SourceError: As in fetch.
        """
        ...

    def merge(self, base: str, head: str) -> Merge:
        """Merge a head into a base without touching refs or work trees; fetches the history it needs, within bounds.

        Raises:
            SourceUnavailable, SourceError: As in fetch.
        """
        ...

    def source(self, revision: Callable[[], str], environment: str = "") -> SnapshotSource:
        """Make a source whose revision is what ``revision`` returns, seen as one environment."""
        ...

    def close(self) -> None:
        """End what runs on its behalf."""
        ...
