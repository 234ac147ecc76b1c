"""Reality as a faithful run would leave it, made from plans alone: for tests of the planner, which need no driver.

``build`` does what the plan says until no build step is left, with outputs that stand for "whatever this fingerprint
gives" and figures chosen by the test; ``roll_out`` takes what is packaged to its devices.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.facts import EvaluationFacts, Facts, OtherFacts, PackageFacts
from edgewright.core.planning.observed import Champion, Observed
from edgewright.core.planning.plan import BuildStep, Evaluate, Export, Package, Step, action_of, step_id
from edgewright.core.planning.planner import plan, rollout_targets
from edgewright.core.planning.rollouts import RolloutTarget
from edgewright.core.rollout.state import DeviceState, Phase, RolloutSummary
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.base import PRUNE_ANNOTATION
from edgewright_schemas.model import Model
from edgewright_wire.canonical import digest_json

Figures = Mapping[str, Any]
"""Of one variant: ``overall`` and ``slices`` as in evidence."""

GOOD: Figures = {
    "overall": {"accuracy": 0.97, "sizeBytes": 100_000, "latencyP95Ms": 2.0},
    "slices": {"store=a": {"accuracy": 0.96}, "store=b": {"accuracy": 0.98}},
}


@dataclass(frozen=True)
class Outputs:
    """What build steps give."""

    figures: Mapping[str, Mapping[str, Figures | None]] = field(default_factory=dict)
    """By model and variant; GOOD otherwise, and no evidence at all for None."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """By step id: steps with equal text give equal outputs, whatever their fingerprints."""


def build(
    desired: Snapshot,
    observed: Observed,
    now: datetime,
    outputs: Outputs | None = None,
    wanted: Callable[[Step], bool] = lambda step: True,
) -> Observed:
    """Do the build steps of plan after plan, as far as they are wanted."""
    outputs = outputs or Outputs()
    while True:
        ready = [
            step
            for step in plan(desired, observed, now).steps
            if isinstance(step, BuildStep) and step.fingerprint is not None and not step.needs and wanted(step)
        ]
        if not ready:
            return observed
        made = dict(observed.artifacts)
        for step in ready:
            assert step.fingerprint is not None
            made[step.fingerprint] = _make(desired, step, outputs, now + timedelta(seconds=len(made)))
        observed = replace(observed, artifacts=made)


def _make(desired: Snapshot, step: BuildStep, outputs: Outputs, at: datetime) -> Artifact:
    assert step.fingerprint is not None
    content = outputs.contents.get(step_id(step), step.fingerprint)
    digest = digest_json([step_id(step), content])
    document = desired.resources[step.address].document
    facts: Facts = OtherFacts()
    if isinstance(step, Export | Evaluate):
        assert isinstance(document, Model)
        quantized = document.spec.package.quantization.mode != "none"
        figures = outputs.figures.get(step.address.name, {})
        variants = {name: figures.get(name, GOOD) for name in (("int8", "fp32") if quantized else ("fp32",))}
        known = {name: value for name, value in variants.items() if value is not None}
        facts = EvaluationFacts(variants=known) if isinstance(step, Evaluate) else OtherFacts()
    if isinstance(step, Package):
        facts = PackageFacts(
            manifest_digest=digest,
            manifest_size=700,
            package_size=100_000,
            variant=str(step.variant),
            size_bytes=90_000,
        )
    action, components = action_of(step), step.components
    return Artifact(step.fingerprint, action, step.address, digest, {}, facts, components, {}, at, 12.5, step.inputs)


def standing(target: RolloutTarget, phase: Phase, **fields: Any) -> RolloutSummary:
    """Describe a rollout of what it targets at."""
    given: dict[str, Any] = {
        "release": target.release,
        "key": target.key or "",
        "wave": len(target.rollout.spec.waves) - 1 if phase is Phase.SUCCEEDED else 0,
        "counts": {},
        "fleet_digest": target.fleet_digest,
        "rejected": (),
    }
    return RolloutSummary(phase, **{**given, **fields})


def roll_out(desired: Snapshot, observed: Observed, now: datetime) -> Observed:
    """Publish every package, let every rollout succeed, and take all resources under management."""
    rollouts, champions = dict(observed.rollouts), dict(observed.champions)
    published = set(observed.published)
    by_digest = {artifact.digest: artifact for artifact in observed.artifacts.values()}
    for address, target in rollout_targets(desired, observed, now).items():
        if target.release is None:
            continue
        package = by_digest[target.release.package]
        export = observed.artifacts[package.input("export")]
        published.add(package.digest)
        rollouts[address] = standing(target, Phase.SUCCEEDED, counts={DeviceState.VERIFIED: 6})
        champions[target.rollout.spec.model] = Champion(
            package.digest, export.digest, export.fingerprint, package.facts_as(PackageFacts).variant
        )
    return replace(
        observed,
        rollouts=rollouts,
        champions=champions,
        published=frozenset(published),
        inventory=frozenset(desired.resources),
        prune_disabled=frozenset(_unprunable(desired)),
    )


def _unprunable(desired: Snapshot) -> list[Address]:
    return [
        address
        for address, resource in desired.resources.items()
        if resource.document.metadata.annotations.get(PRUNE_ANNOTATION) == "disabled"
    ]


def apply(desired: Snapshot, observed: Observed, now: datetime, outputs: Outputs | None = None) -> Observed:
    """Build and roll out: reality once a run has converged."""
    return roll_out(desired, build(desired, observed, now, outputs), now)
