"""Read the revisions that an upstream resolved. Called by ``mirrors`` and ``local``."""

from collections.abc import Callable
from pathlib import Path

from edgewright.core.signatures import Signature
from edgewright.source.commits import GitSource
from edgewright.source.git.refs import Found
from edgewright.source.git.repositories import GitRepository
from edgewright.source.git.verification import Candidate, verify
from edgewright.source.specs.environments import declared
from edgewright.source.trees import Tree
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Repository


class UpstreamSource(GitSource):
    """A source whose revision the caller decides."""

    def __init__(
        self,
        repository: GitRepository,
        revision: Callable[[], str],
        before_read: Callable[[], None],
        *,
        cache: Path | None,
        environment: str,
    ) -> None:
        """Read ``repository``.

        Args:
            repository: Shared with others.
            revision: Gives a commit.
            before_read: Called before anything is read.
            cache: As in GitSource.
            environment: As in GitSource.
        """
        super().__init__(repository, cache=cache, environment=environment)
        self._revision = revision
        self._before_read = before_read

    def revision(self) -> str:
        """Return the current commit."""
        return self._revision()

    def declared_at(self, commit: str) -> Repository | None:
        """Read a revision's Repository document alone.

        Raises:
            SpecError, SourceError: As in ports.Upstream.
        """
        return declared(self._tree(self._repository.commit(commit)))

    def close(self) -> None:
        """Close the cache; the repository is shared."""
        self._cache.close()

    def _tree(self, commit: str) -> Tree:
        self._before_read()
        return super()._tree(commit)


class UpstreamReader:
    """Reads revisions of a repository that is at hand."""

    def __init__(self, repository: GitRepository, cache: Path, before_read: Callable[[], None]) -> None:
        self.repository = repository
        self._cache = cache
        self._before_read = before_read
        self.own = self.source(lambda: "", "")

    def source(self, revision: Callable[[], str], environment: str) -> UpstreamSource:
        """Make a source."""
        return UpstreamSource(self.repository, revision, self._before_read, cache=self._cache, environment=environment)

    def declared(self, commit: str) -> Repository | None:
        """Read a revision's Repository document alone.

        Raises:
            SpecError, SourceError: As in ports.Upstream.
        """
        return self.own.declared_at(commit)

    def check(
        self, git_dir: Path, follow: Follow | None, found: Found | None, commit: str, trusted: str | None
    ) -> Signature:
        """Check signatures, as in ports.Upstream.

        Raises:
            SourceError: The rules cannot be read.
        """
        tag = found.tag if found is not None else None
        candidate = Candidate(commit, str(follow or "the default branch"), tag, found.object if found and tag else "")
        rules = trusted or commit
        return verify(git_dir, candidate, lambda: self.declared(rules), lambda path: self.own.read(rules, path))

    def close(self) -> None:
        """End the Git processes, close the cache; a later call opens them again."""
        self.own.close()
        self.repository.close()
