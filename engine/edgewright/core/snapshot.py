"""The desired state: every resource of one revision, typed, each with where it was written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from edgewright.core.address import Address
from edgewright_schemas.dataset import Dataset
from edgewright_schemas.environment import Reconciliation
from edgewright_schemas.fleet import Device, Fleet
from edgewright_schemas.kinds import Document
from edgewright_schemas.model import Model
from edgewright_schemas.repository import Repository
from edgewright_schemas.rollout import Rollout
from edgewright_schemas.thresholds import Thresholds

WORKTREE = "worktree"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Location:
    """Start of a document: file, line and column."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        """Write ``file:line:column``."""
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One document of the repository."""

    address: Address
    document: Document
    location: Location
    blob: str
    """Git blob id of its file."""
    overlays: tuple[Location, ...] = ()
    """The overlay documents that were merged into it, in order."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every resource of one revision, with the digests of what the specs refer to in the repository."""

    revision: str
    """The commit; for uncommitted edits ``worktree:<digest>``."""
    resources: Mapping[Address, Resource]
    code: Mapping[str, str] = field(default_factory=dict)
    """Digest of a code file and the repository's files it imports, by the path specs name it with."""
    code_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The files behind each digest of ``code``: the file itself and those it imports, by the same path."""
    content: Mapping[str, str] = field(default_factory=dict)
    """Digest of any other file or folder specs name (data, templates, ONNX files, command inputs), by path.
    A path that exists only outside Git is not here."""
    inventories: Mapping[str, tuple[Device, ...]] = field(default_factory=dict)
    """Devices of each inventory file, by path."""
    environment: str = ""
    """The environment it was resolved for; empty where the repository declares none."""

    def dataset(self, name: str) -> Dataset | None:
        """Find a dataset by name."""
        return self._document("dataset", name, Dataset)

    def model(self, name: str) -> Model | None:
        """Find a model by name."""
        return self._document("model", name, Model)

    def thresholds(self, name: str) -> Thresholds | None:
        """Find thresholds by name."""
        return self._document("thresholds", name, Thresholds)

    def fleet(self, name: str) -> Fleet | None:
        """Find a fleet by name."""
        return self._document("fleet", name, Fleet)

    def rollouts(self) -> Iterator[Rollout]:
        """List the rollouts in address order."""
        for address in sorted(a for a in self.resources if a.kind == "rollout"):
            document = self.resources[address].document
            assert isinstance(document, Rollout)
            yield document

    def repository(self) -> Repository | None:
        """Find the Repository document; every checked-out repository has at most one."""
        address = next((address for address in self.resources if address.kind == "repository"), None)
        document = self.resources[address].document if address is not None else None
        return document if isinstance(document, Repository) else None

    def reconciliation(self) -> Reconciliation:
        """Return the reconciliation settings of the environment, or else of the repository."""
        repository = self.repository()
        if repository is None:
            return Reconciliation()
        environment = repository.spec.environment(self.environment)
        return (environment and environment.reconciliation) or repository.spec.reconciliation

    def _document(self, kind: str, name: str, type_: type[T]) -> T | None:
        resource = self.resources.get(Address(kind, name))
        return resource.document if resource is not None and isinstance(resource.document, type_) else None
