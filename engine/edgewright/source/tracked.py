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


class TrackedSource(GitSource):
    """A source whose revision the caller decides."""

    def __init__(
        self,
        repository: GitRepository,
        revision: Callable[[], str],
        look: Callable[[], None],
        *,
        cache: Path | None,
        environment: str,
    ) -> None:
        """Read ``repository``.

        Args:
            repository: Shared with others.
            revision: Gives a commit.
            look: Called before anything is read.
            cache: As in GitSource.
            environment: As in GitSource.
        """
        super().__init__(repository, cache=cache, environment=environment)
        self._revision = revision
        self._look = look

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
        self._look()
        return super()._tree(commit)


class Reader:
    """Reads revisions of a repository that is at hand."""

    def __init__(self, repository: GitRepository, cache: Path, look: Callable[[], None]) -> None:
        self.repository = repository
        self._cache = cache
        self._look = look
        self.own = self.source(lambda: "", "")

    def source(self, revision: Callable[[], str], environment: str) -> TrackedSource:
        """Make a source."""
        return TrackedSource(self.repository, revision, self._look, cache=self._cache, environment=environment)

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
