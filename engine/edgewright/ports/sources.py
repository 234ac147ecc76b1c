"""Reading what is desired, and looking at data outside Git. Implemented by ``source`` and ``build.sources``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgewright.core.observed import SourceState
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.dataset import Source as DatasetSource


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
