"""The planner: desired and observed state in, plan out. Pure; the same inputs give the same plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.planning.builds import ModelNodes, plan_dataset, plan_model
from edgewright.core.planning.conflicts import conflicts, note_conflicts
from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import Plan, PlanSummary, StartRollout, action_of, identify
from edgewright.core.planning.pruning import plan_prunes
from edgewright.core.planning.repairs import plan_repairs
from edgewright.core.planning.rollouts import RolloutTarget, plan_publish, plan_rollout, target_of
from edgewright.core.planning.workbench import BLOCKED, Node, Workbench
from edgewright.core.snapshot import Snapshot
from edgewright.errors import SpecError
from edgewright_schemas.dataset import Dataset
from edgewright_schemas.model import Model
from edgewright_wire.canonical import digest_json

_UNDECLARED = ModelNodes(BLOCKED, BLOCKED, BLOCKED, BLOCKED, BLOCKED, None)
_MAKES = {Action.TRAIN, Action.IMPORT, Action.COMMAND}


@dataclass(frozen=True, slots=True)
class Builds:
    """The artifacts of every dataset and model, by name: there, or to be made."""

    datasets: Mapping[str, Node]
    models: Mapping[str, ModelNodes]


def plan(desired: Snapshot, observed: Observed, now: datetime) -> Plan:
    """Compute everything a run would do to make reality match the desired state.

    Raises:
        SpecError: Two rollouts claim the same model on a device that the repository puts into both fleets.
    """
    return _plan(desired, observed, now)[0]


def plan_with_builds(desired: Snapshot, observed: Observed, now: datetime) -> tuple[Plan, Builds]:
    """As ``plan``, with the artifacts it rests on.

    Raises:
        SpecError: As in plan.
    """
    made, _, builds = _plan(desired, observed, now)
    return made, builds


def plan_with_targets(
    desired: Snapshot, observed: Observed, now: datetime
) -> tuple[Plan, dict[Address, RolloutTarget]]:
    """As ``plan``, with what ``rollout_targets`` says of the same observation.

    Raises:
        SpecError: As in plan.
    """
    return _plan(desired, observed, now)[:2]


def _plan(desired: Snapshot, observed: Observed, now: datetime) -> tuple[Plan, dict[Address, RolloutTarget], Builds]:
    bench = Workbench(desired, observed, now)
    if problems := conflicts(bench):
        raise SpecError(problems)
    builds = _plan_builds(bench)
    found = _targets(bench, builds.models)
    _plan_deliveries(bench, builds.models, found)
    note_conflicts(bench)
    plan_repairs(bench)
    plan_prunes(bench)
    consulted = digest_json(bench.consulted)
    made = Plan(
        commit=desired.revision,
        observed_digest=consulted,
        plan_id=identify(desired.revision, consulted, now),
        steps=tuple(bench.steps),
        notes=tuple(bench.notes),
        verdicts=bench.verdicts,
        summary=_summarize(bench),
        depends_on_time=bench.depends_on_time,
    )
    return made, found, builds


def rollout_targets(desired: Snapshot, observed: Observed, now: datetime) -> dict[Address, RolloutTarget]:
    """Compute the target of each rollout; those of models without a package have no release yet."""
    return targets_on(Workbench(desired, observed, now))


def targets_on(bench: Workbench) -> dict[Address, RolloutTarget]:
    """As ``rollout_targets``, on a workbench of the caller's."""
    return _targets(bench, _plan_builds(bench).models)


def reachable(desired: Snapshot, observed: Observed, now: datetime) -> frozenset[str]:
    """List the fingerprints of the artifacts the desired state is made of, as far as they are there."""
    bench = Workbench(desired, observed, now)
    _plan_builds(bench)
    there = (key for key, digest in bench.consulted.items() if key.startswith("artifact ") and digest)
    return frozenset(key.removeprefix("artifact ") for key in there)


def _plan_builds(bench: Workbench) -> Builds:
    documents = [bench.desired.resources[address].document for address in sorted(bench.desired.resources)]
    datasets = {d.metadata.name: plan_dataset(bench, d) for d in documents if isinstance(d, Dataset)}
    models = {
        d.metadata.name: plan_model(bench, d, datasets.get(d.spec.dataset, BLOCKED))
        for d in documents
        if isinstance(d, Model)
    }
    return Builds(datasets, models)


def _targets(bench: Workbench, nodes: Mapping[str, ModelNodes]) -> dict[Address, RolloutTarget]:
    found = {}
    for rollout in bench.desired.rollouts():
        fleet = bench.desired.fleet(rollout.spec.fleet)
        if fleet:
            address = Address("rollout", rollout.metadata.name)
            found[address] = target_of(bench, rollout, fleet, nodes.get(rollout.spec.model, _UNDECLARED))
    return found


def _plan_deliveries(bench: Workbench, nodes: Mapping[str, ModelNodes], found: dict[Address, RolloutTarget]) -> None:
    published: dict[str, str | None] = {}
    for target in found.values():
        name = target.rollout.spec.model
        model = nodes.get(name, _UNDECLARED)
        if name not in published:
            published[name] = plan_publish(bench, name, model)
        plan_rollout(bench, target, model, published[name])


def _summarize(bench: Workbench) -> PlanSummary:
    counts = dict.fromkeys(Action, 0)
    size: int | None = 0
    for step in bench.steps:
        counts[action_of(step)] += 1
        if isinstance(step, StartRollout):
            for wave in step.waves:
                size = None if size is None or wave.bytes is None else size + wave.bytes
    return PlanSummary(
        build=counts[Action.BUILD_DATASET],
        train=sum(counts[action] for action in _MAKES),
        package=counts[Action.PACKAGE],
        rollout=counts[Action.START_ROLLOUT] + counts[Action.ADVANCE_WAVE] + counts[Action.ROLLBACK],
        prune=counts[Action.PRUNE],
        repair=counts[Action.REPAIR],
        devices=len(bench.touched),
        bytes=size,
    )
