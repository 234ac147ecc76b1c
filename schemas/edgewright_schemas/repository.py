"""Kind Repository: ``edgewright.yaml`` at the root of a spec repository."""

from datetime import timedelta
from posixpath import normpath
from typing import Literal

from pydantic import field_validator, model_validator

from edgewright_schemas.base import API_VERSION, Duration, Metadata, SpecModel
from edgewright_schemas.environment import AgentDelivery, Environment, Reconciliation, Verification
from edgewright_schemas.names import REPOSITORY_FILE
from edgewright_schemas.notifications import NotificationReceiver

__all__ = ["REPOSITORY_FILE", "AgentDelivery", "Previews", "Repository", "RepositorySpec"]


class Previews(SpecModel):
    """Previews of pull requests."""

    enabled: bool = True
    """Write a plan under every pull request."""
    max_age: Duration = timedelta(days=30)
    """Open pull requests without a commit for this long are ignored."""


class RepositorySpec(SpecModel):
    """Folders of specs, environments, and defaults of this repository."""

    paths: tuple[str, ...] = (".",)
    """Folders (or files) with specs: every document in their ``*.yaml`` and ``*.yml`` files must be edgewright's, in
    any case of letters. With the default, the whole repository, documents for other tools are left alone. Hidden
    folders are skipped."""
    exclude: tuple[str, ...] = ()
    """Globs, from the root, of files and folders that hold no specs; ``*`` also crosses folders."""
    delivery: AgentDelivery = AgentDelivery()
    reconciliation: Reconciliation = Reconciliation()
    """Defaults for all environments."""
    environments: tuple[Environment, ...] = ()
    """Environments, each with a state and fleets of its own. Without any, the repository is
    its own only environment."""
    verification: Verification | None = None
    """Signatures that a commit must carry to be accepted. Read from the last accepted commit."""
    previews: Previews = Previews()
    """Plans written under pull requests."""
    notifications: tuple[NotificationReceiver, ...] = ()
    """Receivers of notifications."""

    @field_validator("environments", "notifications")
    @classmethod
    def _names_differ(
        cls, items: tuple[Environment | NotificationReceiver, ...]
    ) -> tuple[Environment | NotificationReceiver, ...]:
        names = [item.name for item in items]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is declared twice")
        return items

    @model_validator(mode="after")
    def _folders_differ(self) -> "RepositorySpec":
        """Two environments that publish into one folder would undo each other's work."""
        taken: dict[str, str] = {}
        for environment in self.environments:
            if environment.delivery is None:
                continue
            for folder in (environment.delivery.repository, environment.delivery.reports):
                other = taken.setdefault(normpath(folder), environment.name)
                if other != environment.name:
                    raise ValueError(f"environments {other!r} and {environment.name!r} both deliver to {folder}")
        return self

    def environment(self, name: str) -> Environment | None:
        """Find an environment by name."""
        return next((environment for environment in self.environments if environment.name == name), None)


class Repository(SpecModel):
    """Settings of the repository itself."""

    api_version: Literal["edgewright.dev/v1alpha1"] = API_VERSION
    kind: Literal["Repository"]
    metadata: Metadata
    spec: RepositorySpec = RepositorySpec()
