"""Desired state of a commit. Implements ``ports.SnapshotSource`` for ``cli`` and ``server``."""

from collections.abc import Sequence
from pathlib import Path

from edgewright.core.snapshot import Snapshot
from edgewright.source.cache import Cache
from edgewright.source.checkouts import refusals_as_source_errors, write_checkout
from edgewright.source.git.repositories import GitRepository
from edgewright.source.specs.assemble import assemble
from edgewright.source.trees import Tree
from edgewright_schemas.repository import Repository

STATE_FOLDER = ".edgewright"
CACHE_FOLDER = f"{STATE_FOLDER}/cache"


class GitSource:
    """Reads a branch, tag or commit from Git objects; bare repositories too."""

    def __init__(
        self,
        location: str | Path | GitRepository,
        ref: str | None = None,
        *,
        cache: Path | None = None,
        environment: str = "",
    ) -> None:
        """Follow ``ref`` (default: HEAD) of the repository at or above ``location``.

        Args:
            location: A path, a ``file://`` URL, or a repository that was found.
            ref: A branch, tag, commit, or anything else Git resolves to a commit.
            cache: The folder to keep results in; by default ``.edgewright/cache`` below the spec root, and nowhere for
                a bare repository.
            environment: The environment that snapshots are resolved for; without one they are of the base alone.

        Raises:
            SourceError: No repository.
        """
        self._repository = location if isinstance(location, GitRepository) else GitRepository(location)
        self._ref = ref
        self._cache = Cache(cache or default_cache(self._repository))
        self.environment = environment

    @property
    def root(self) -> Path:
        """The folder that spec paths are relative to (of a bare repository, its own)."""
        return self._repository.root

    def revision(self) -> str:
        """Resolve what is followed to a commit.

        Raises:
            SourceError: Unborn branch, unknown ref.
        """
        return self._repository.commit(self._ref)

    def snapshot(self) -> Snapshot:
        """Read and check everything at the current revision.

        Raises:
            SpecError: With every problem found.
            SourceError: As in revision, or there is no such environment.
        """
        revision = self.revision()
        return assemble(self._tree(revision), revision, self.environment)

    def declared(self) -> Repository | None:
        """Read the Repository document alone; None where there is none.

        Raises:
            SpecError: It is wrong.
            SourceError: As in revision.
        """
        from edgewright.source.specs.environments import declared

        return declared(self._tree(self.revision()))

    def materialize(self, revision: str, paths: Sequence[str], into: Path) -> None:
        """Write files and folders of a revision below ``into``; what is there already and equal stays.

        Raises:
            SourceError: The revision or a path is not there, or a link leads out of the repository.
            StorageFull: No space.
        """
        write_checkout(self._tree(self._repository.commit(revision)), paths, into)

    def read(self, revision: str, path: str) -> bytes:
        """Read one file of a revision.

        Raises:
            SourceError: As in materialize.
        """
        with refusals_as_source_errors():
            return self._tree(self._repository.commit(revision)).read(path)

    def close(self) -> None:
        """End the Git processes and close the cache; a later call opens them again."""
        self._repository.close()
        self._cache.close()

    def _tree(self, commit: str) -> Tree:
        key = f"{commit}:{self._repository.prefix}"
        root = self._cache.get("root", key)
        if root is None:
            root = self._repository.root_tree(commit)
            self._cache.put("root", {key: root})
        return Tree(self._repository, root, self._cache)


def default_cache(repository: GitRepository) -> Path | None:
    """Return the default folder of a repository's cache."""
    return None if repository.is_bare else repository.root / CACHE_FOLDER
