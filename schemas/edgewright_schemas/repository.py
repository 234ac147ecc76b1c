"""Kind Repository: ``edgewright.yaml`` at the root of a spec repository."""

from typing import Literal

from pydantic import Field, field_validator

from edgewright_schemas.base import API_VERSION, Metadata, SpecModel

REPOSITORY_FILE = "edgewright.yaml"


class AgentDelivery(SpecModel):
    """Where the files that agents fetch are published, and where their reports arrive."""

    repository: str = ".edgewright/repository"
    """A folder any web server, share or site cache can serve; below the repository, or absolute."""
    reports: str = ".edgewright/reports"
    """A folder devices drop their reports into."""
    bins: int = Field(default=16, ge=2, le=16384)
    """Into how many signed files assignments are spread; a power of two, about one for 500 devices."""

    @field_validator("bins")
    @classmethod
    def _power_of_two(cls, bins: int) -> int:
        if bins & (bins - 1):
            lower = 1 << (bins.bit_length() - 1)
            raise ValueError(f"must be a power of two: {lower} or {2 * lower}")
        return bins


class RepositorySpec(SpecModel):
    """Where specs are, and the defaults of this repository."""

    paths: tuple[str, ...] = (".",)
    """Folders (or files) with specs: every document in their ``*.yaml`` and ``*.yml`` files must be edgewright's. With
    the default, the whole repository, documents for other tools are left alone. Hidden folders are skipped."""
    exclude: tuple[str, ...] = ()
    """Globs, from the root, of files and folders that hold no specs; ``*`` also crosses folders."""
    delivery: AgentDelivery = AgentDelivery()


class Repository(SpecModel):
    """What edgewright needs to know of the repository itself."""

    api_version: Literal["edgewright.dev/v1alpha1"] = API_VERSION
    kind: Literal["Repository"]
    metadata: Metadata
    spec: RepositorySpec = RepositorySpec()
