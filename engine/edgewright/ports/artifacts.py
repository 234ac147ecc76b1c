"""Artifacts, failed build steps and durations in the state store. Implemented by ``state``.

All environments of a store share them: the same fingerprint is the same artifact everywhere.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Protocol

from edgewright.core.artifact import Action, Artifact


class ArtifactReader(Protocol):
    """Reads artifacts and failures."""

    def artifacts(self, fingerprints: Iterable[str] | None = None) -> Mapping[str, Artifact]:
        """Return artifacts by fingerprint; all of them by default, which costs in proportion to them."""
        ...

    def package(self, digest: str) -> Artifact | None:
        """Find the package with this digest; the oldest, where several steps made the same."""
        ...

    def failures(self) -> Mapping[str, str]:
        """Return the messages of steps that failed for good, by fingerprint."""
        ...

    def durations(self) -> Mapping[tuple[Action, str], timedelta]:
        """Return the duration of each action's last run, by action and address."""
        ...


class ArtifactWriter(Protocol):
    """Writes artifacts and failures. Raises as ports.StateWriter."""

    def record_artifact(self, artifact: Artifact) -> None:
        """Add or replace an artifact by fingerprint; clears a failure recorded for it."""
        ...

    def forget_artifacts(self, fingerprints: Iterable[str]) -> None:
        """Remove artifacts (their blobs were found missing or corrupt, or gc takes them)."""
        ...

    def record_failure(self, fingerprint: str, message: str) -> None:
        """Record that a step failed for good."""
        ...
