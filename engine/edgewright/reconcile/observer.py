"""Observation of reality: the one place where the ports' answers become the planner's Observed."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.config_drift import ConfigDrift
from edgewright.core.planning.observed import Observed, SourceState
from edgewright.core.planning.plan import Plan, identify
from edgewright.core.planning.planner import plan_with_targets
from edgewright.core.planning.rollouts import RolloutTarget
from edgewright.core.rollout.state import RolloutSummary
from edgewright.core.snapshot import Snapshot
from edgewright.ports import BlobReader, DeliveryReader, SourceObserver, StateReader
from edgewright.reconcile.drift_scan import DriftMemory, DriftScan
from edgewright_schemas.dataset import Dataset, Source
from edgewright_schemas.model import Model
from edgewright_wire.canonical import digest_json

Planned = tuple[Plan, Mapping[Address, RolloutTarget]]


class PresentArtifacts(Mapping[str, Artifact]):
    """Recorded artifacts whose stored files are there; files are looked for only when an artifact is asked for."""

    def __init__(self, recorded: Mapping[str, Artifact], blobs: BlobReader, corrupt: Set[str] = frozenset()) -> None:
        self._recorded = recorded
        self._blobs = blobs
        self._corrupt = corrupt
        self.looked_for: dict[str, bool] = {}
        """Stored files that were looked for, by digest, and whether they were there."""

    def __getitem__(self, fingerprint: str) -> Artifact:
        """Find an artifact; one that lost a file counts as absent.

        Raises:
            KeyError: It is not recorded, or not whole.
        """
        artifact = self._recorded[fingerprint]
        if not all(
            self._is_there(file.digest) and file.digest not in self._corrupt for file in artifact.files.values()
        ):
            raise KeyError(fingerprint)
        return artifact

    def _is_there(self, digest: str) -> bool:
        there = self.looked_for[digest] = self._blobs.has(digest)
        return there

    def __iter__(self) -> Iterator[str]:
        """List the fingerprints of artifacts that are whole."""
        return (fingerprint for fingerprint in self._recorded if fingerprint in self)

    def __len__(self) -> int:
        """Count the artifacts that are whole."""
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class Beside:
    """What is observed beside the state store and stored files."""

    sources: Mapping[str, SourceState]
    published: frozenset[str]
    damaged: Mapping[str, str]
    drift: tuple[ConfigDrift, ...]
    environment: Mapping[str, str]

    @staticmethod
    def of(observed: Observed) -> "Beside":
        """Take it from a whole observation."""
        return Beside(observed.sources, observed.published, observed.damaged, observed.drift, observed.environment)


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
        beside = self.look_beside(desired, deep=deep)
        return Observed(
            artifacts=PresentArtifacts(recorded, self.blobs, self.memory.corrupt),
            remembered=recorded,
            sources=beside.sources,
            champions=self.state.champions(),
            published=beside.published,
            damaged=beside.damaged,
            drift=beside.drift,
            rollouts=self._rollouts(),
            enrolled=enrolled,
            enrolled_digest=digest_json({id_: dict(labels) for id_, labels in enrolled.items()}) if enrolled else "",
            inventory=frozenset(managed),
            prune_disabled=frozenset(address for address, disabled in managed.items() if disabled),
            durations=self.state.durations(),
            environment=beside.environment,
            failures={} if retry_failures else self.state.failures(),
        )

    def look_beside(self, desired: Snapshot, *, deep: bool = False) -> Beside:
        """Describe what is beside the state store and stored files; arguments and errors as in ``observe``."""
        scan = DriftScan(self.state, self.blobs, self.delivery, self.memory)
        return Beside(
            drift=scan.full(desired) if deep else scan.recheck(desired),
            sources=self._sources(desired),
            published=self.delivery.published(),
            damaged=self.delivery.damaged(),
            environment=_versions() if _any_pinned(_documents(desired)) else {},
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


@dataclass(frozen=True, slots=True)
class _Last:
    """A plan without steps, and what it rests on."""

    planned: Planned
    desired: Snapshot
    version: str
    retry_failures: bool
    beside: Beside
    looked_for: Mapping[str, bool]
    corrupt: frozenset[str]


@dataclass
class StandingPlan:
    """The plan of the last pass, for as long as nothing that it rests on has changed.

    Most passes of a standing run find nothing to do, as the one before. What they would read again resource by resource
    is named by the state's version; all else that the observer asks is asked again, each stored file included.
    """

    observer: Observer
    _last: _Last | None = field(default=None, init=False)

    def plan(self, desired: Snapshot, now: datetime, *, retry_failures: bool, deep: bool) -> Planned:
        """Plan; arguments as of ``Observer.observe``.

        Raises:
            SpecError, StateError, DeliveryUnavailable: As there, and as ``plan`` of the planner.
        """
        # Asked first: what is written while reality is looked at makes the next pass look again.
        version = self.observer.state.version()
        if not deep and (last := self._last) is not None and self._holds(last, desired, version, retry_failures):
            found, targets = last.planned
            return replace(found, plan_id=identify(found.commit, found.observed_digest, now)), targets
        self._last = None
        observed = self.observer.observe(desired, retry_failures=retry_failures, deep=deep)
        planned = plan_with_targets(desired, observed, now)
        if not planned[0].steps and not planned[0].depends_on_time:
            self._last = _Last(
                planned,
                desired,
                version,
                retry_failures,
                Beside.of(observed),
                _looked_for(observed),
                frozenset(self.observer.memory.corrupt),
            )
        return planned

    @property
    def last_plan(self) -> Plan | None:
        """The plan that is kept; None where something was to be done."""
        return self._last.planned[0] if self._last is not None else None

    def _holds(self, last: _Last, desired: Snapshot, version: str, retry_failures: bool) -> bool:
        return (
            last.desired is desired
            and last.version == version
            and last.retry_failures == retry_failures
            and last.corrupt == self.observer.memory.corrupt
            and last.beside == self.observer.look_beside(desired)
            and all(self.observer.blobs.has(digest) == there for digest, there in last.looked_for.items())
        )


def _looked_for(observed: Observed) -> Mapping[str, bool]:
    return observed.artifacts.looked_for if isinstance(observed.artifacts, PresentArtifacts) else {}


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
