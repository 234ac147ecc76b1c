"""Results of builds: rows of datasets, figures of models. Gathered by ``services``, rendered by ``results_json``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.facts import DatasetFacts, EvaluationFacts, Evidence, PackageFacts
from edgewright.core.gates import GateOutcome
from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import Plan
from edgewright.core.planning.planner import Builds
from edgewright.core.snapshot import Snapshot

Confusion = Sequence[Sequence[int]]
"""Test rows by true class (rows) and predicted class (columns)."""


@dataclass(frozen=True, slots=True)
class DatasetResults:
    """Rows, classes and files of a built dataset."""

    address: Address
    artifact: Artifact
    facts: DatasetFacts
    current: bool
    """False: the spec has changed since, and this was built last."""


@dataclass(frozen=True, slots=True)
class ModelResults:
    """Figures of a measured model."""

    address: Address
    artifact: Artifact
    """The evaluation."""
    variants: Mapping[str, Evidence]
    current: bool
    """False: the spec has changed since, and this was measured last."""
    dataset: Address
    packaged: str | None
    """The variant that is packaged; None where there is none yet, or the figures are not current."""
    thresholds: str | None
    """None: no gates judge it."""
    gated: bool
    """Whether any gate judges the engine's figures."""
    verdict: tuple[GateOutcome, ...]
    """How gates stand for the variant that is packaged, or was tried last; empty where the figures are not current."""
    classes: tuple[str, ...] | None = None
    """In the order of the outputs; None for regression, and where they were not looked up."""
    confusion: Mapping[str, Confusion] | None = None
    """By variant; None where it was not looked up."""


Results = DatasetResults | ModelResults


def gather_results(
    desired: Snapshot, observed: Observed, plan: Plan, builds: Builds, only: Iterable[Address] | None = None
) -> dict[Address, Results]:
    """Gather the results of the datasets and models that are declared and were built; without confusion.

    Args:
        desired: The specs.
        observed: What there is.
        plan: Their plan; its verdicts are taken.
        builds: Its nodes.
        only: The resources to look at; None: all.
    """
    latest = _latest(observed.remembered or observed.artifacts)
    found: dict[Address, Results] = {}
    for address in sorted(desired.resources) if only is None else only:
        one: Results | None = None
        if address.kind == "dataset":
            one = _dataset(address, builds, latest)
        elif address.kind == "model":
            one = _model(address, desired, plan, builds, latest)
        if one is not None:
            found[address] = one
    return found


def _latest(artifacts: Mapping[str, Artifact]) -> dict[tuple[Action, Address], Artifact]:
    made = sorted(artifacts.values(), key=lambda each: each.created_at.timestamp() if each.created_at else 0.0)
    return {(artifact.action, artifact.address): artifact for artifact in made}


def _dataset(
    address: Address, builds: Builds, latest: Mapping[tuple[Action, Address], Artifact]
) -> DatasetResults | None:
    node = builds.datasets.get(address.name)
    now = node.artifact if node is not None else None
    artifact = now or latest.get((Action.BUILD_DATASET, address))
    if artifact is None or not isinstance(artifact.facts, DatasetFacts):
        return None
    return DatasetResults(address, artifact, artifact.facts, now is not None)


def _model(
    address: Address,
    desired: Snapshot,
    plan: Plan,
    builds: Builds,
    latest: Mapping[tuple[Action, Address], Artifact],
) -> ModelResults | None:
    model, nodes = desired.model(address.name), builds.models.get(address.name)
    now = nodes.evaluation.artifact if nodes is not None else None
    artifact = now or latest.get((Action.EVALUATE, address))
    if model is None or artifact is None or not isinstance(artifact.facts, EvaluationFacts):
        return None
    package = nodes.package.artifact if nodes is not None else None
    thresholds = desired.thresholds(model.spec.thresholds) if model.spec.thresholds is not None else None
    return ModelResults(
        address,
        artifact,
        artifact.facts.variants,
        current=now is not None,
        dataset=Address("dataset", model.spec.dataset),
        packaged=package.facts.variant if package is not None and isinstance(package.facts, PackageFacts) else None,
        thresholds=model.spec.thresholds,
        gated=thresholds is not None and any(gate.device_class is None for gate in thresholds.spec.gates),
        verdict=plan.verdicts.get(address, ()) if now is not None else (),
    )
