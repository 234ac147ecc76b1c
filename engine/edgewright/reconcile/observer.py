"""Observation of reality: the one place where the ports' answers become the planner's Observed."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.planning.observed import Observed, SourceState
from edgewright.core.rollout.state import RolloutSummary
from edgewright.core.snapshot import Snapshot
from edgewright.ports import BlobReader, DeliveryReader, SourceObserver, StateReader
from edgewright.reconcile.drift_scan import DriftMemory, DriftScan
from edgewright_schemas.dataset import Dataset, Source
from edgewright_schemas.model import Model
from edgewright_wire.canonical import digest_json


class PresentArtifacts(Mapping[str, Artifact]):
    """Recorded artifacts whose stored files are there; files are looked for only when an artifact is asked for."""

    def __init__(self, recorded: Mapping[str, Artifact], blobs: BlobReader, corrupt: Set[str] = frozenset()) -> None:
        self._recorded = recorded
        self._blobs = blobs
        self._corrupt = corrupt

    def __getitem__(self, fingerprint: str) -> Artifact:
        """Find an artifact; one that lost a file counts as absent.

        Raises:
            KeyError: It is not recorded, or not whole.
        """
        artifact = self._recorded[fingerprint]
        files = artifact.files.values()
        if not all(self._blobs.has(file.digest) and file.digest not in self._corrupt for file in files):
            raise KeyError(fingerprint)
        return artifact

    def __iter__(self) -> Iterator[str]:
        """List the fingerprints of artifacts that are whole."""
        return (fingerprint for fingerprint in self._recorded if fingerprint in self)

    def __len__(self) -> int:
        """Count the artifacts that are whole."""
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class Observer:
    """Reads every port that the planner's picture of reality is made from."""

    state: StateReader
    blobs: BlobReader
    delivery: DeliveryReader
    sources: SourceObserver
    memory: DriftMemory = field(default_factory=DriftMemory)

    def observe(self, desired: Snapshot, *, retry_failures: bool = False, deep: bool = False) -> Observed:
        """Describe reality as far as these specs need it.

        Args:
            desired: What is wanted; only the sources it names are looked at.
            deep: Scan for drift, whose cost grows with the fleet; else only check what the last scan found.
            retry_failures: Leave out failures remembered from earlier runs, so that those steps are planned again.

        Raises:
            StateError: The state store cannot be read.
            DeliveryUnavailable: The published repository cannot be read.
        """
        managed = self.state.managed()
        enrolled = self.state.enrolled()
        recorded = self.state.artifacts()
        scan = DriftScan(self.state, self.blobs, self.delivery, self.memory)
        drift = scan.full(desired) if deep else scan.recheck(desired)
        return Observed(
            artifacts=PresentArtifacts(recorded, self.blobs, self.memory.corrupt),
            remembered=recorded,
            sources=self._sources(desired),
            champions=self.state.champions(),
            published=self.delivery.published(),
            damaged=self.delivery.damaged(),
            drift=drift,
            rollouts=self._rollouts(),
            enrolled=enrolled,
            enrolled_digest=digest_json({id_: dict(labels) for id_, labels in enrolled.items()}) if enrolled else "",
            inventory=frozenset(managed),
            prune_disabled=frozenset(address for address, disabled in managed.items() if disabled),
            durations=self.state.durations(),
            environment=_versions() if _any_pinned(_documents(desired)) else {},
            failures={} if retry_failures else self.state.failures(),
        )

    def _rollouts(self) -> Mapping[Address, RolloutSummary]:
        requested = self.state.requested_controls()
        return {
            address: replace(summary, requested=requested.get(address))
            for address, summary in self.state.rollout_summaries().items()
        }

    def _sources(self, desired: Snapshot) -> Mapping[str, SourceState]:
        found = {}
        for document in _documents(desired):
            if isinstance(document, Dataset):
                source = document.spec.source
                if source.format != "python" and source.uri not in desired.content:
                    found[source.uri] = self.sources.observe(source)
        return found


class NamedSources:
    """Looks only at sources that a revision somebody answers for names. Implements ports.SourceObserver.

    Previews are computed of what strangers propose: it must not choose which files and URLs the controller opens.
    """

    def __init__(self, sources: SourceObserver, believed: Snapshot | None) -> None:
        """Take the names down.

        Args:
            sources: Looks.
            believed: The revision in force; None: nothing is looked at.
        """
        documents = _documents(believed) if believed is not None else ()
        self._sources = sources
        self._named = {document.spec.source.uri for document in documents if isinstance(document, Dataset)}

    def observe(self, source: Source) -> SourceState:
        """Digest what is at a source, if it is one of those."""
        if source.uri in self._named:
            return self._sources.observe(source)
        return SourceState(None, "it is new, and looked at only after the merge")


def _documents(desired: Snapshot) -> Iterable[object]:
    return (
        resource.document for address, resource in desired.resources.items() if address.kind in {"dataset", "model"}
    )


def looks_elsewhere(desired: Snapshot) -> bool:
    """Return whether plans of these specs depend on more than Git and our own files: on sources or libraries."""
    documents = list(_documents(desired))
    outside = (
        each.spec.source.format != "python" and each.spec.source.uri not in desired.content
        for each in documents
        if isinstance(each, Dataset)
    )
    return any(outside) or _any_pinned(documents)


def _any_pinned(documents: Iterable[object]) -> bool:
    return any(
        isinstance(document, Model)
        and document.spec.training is not None
        and document.spec.training.environment == "pinned"
        for document in documents
    )


def _versions() -> Mapping[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "numpy")}
