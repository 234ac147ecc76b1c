"""Plans between two revisions, offline: what would merging change, once the base has been applied?

The base is assumed to be applied whole. Every artifact it asks for exists then, under a digest that stands for
"whatever this fingerprint gives"; its gates have passed, its packages are published, its rollouts succeeded. A
head that asks for the same fingerprints finds them; where it differs, the planner shows the step and its reasons.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.facts import AssumedFacts, Facts, PackageFacts
from edgewright.core.planning.fingerprint import fingerprint
from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import ACTIONS, Package
from edgewright.core.planning.planner import targets_on
from edgewright.core.planning.workbench import BLOCKED, Node, Workbench
from edgewright.core.rollout.state import Phase, RolloutSummary
from edgewright.core.snapshot import Snapshot
from edgewright_wire.canonical import digest_json


@dataclass
class AssumingWorkbench(Workbench):
    """A workbench on which every build step is taken as done the moment it is planned."""

    made: dict[str, Artifact] = field(default_factory=dict)

    def build(
        self,
        kind: type[Any],
        address: Address,
        components: Mapping[str, str],
        inputs: Mapping[str, Node],
        *,
        unless: str = "",
        **extra: Any,
    ) -> Node:
        """Find the artifact, or assume it."""
        if any(node.artifact is None for node in inputs.values()):
            return BLOCKED
        action = ACTIONS[kind]
        of = fingerprint(action, components)
        made, _ = self.find(of, action, components, inputs)
        if made is None or made.artifact is None:
            return self._made(of, _assume(kind, address, of, components))
        return self._made(made.fingerprint or of, made.artifact)

    def _made(self, of: str, artifact: Artifact) -> Node:
        self.made[of] = artifact
        return Node(of, artifact)


def _assume(kind: type[Any], address: Address, of: str, components: Mapping[str, str]) -> Artifact:
    facts: Facts = AssumedFacts()
    if kind is Package:
        facts = PackageFacts(manifest_digest="", manifest_size=0, package_size=0, variant="", size_bytes=0)
    return Artifact(of, ACTIONS[kind], address, digest_json({"output of": of}), {}, facts, components)


def assume_applied(base: Snapshot, observed: Observed, now: datetime) -> Observed:
    """Describe reality as it would be with the base applied; what exists already is taken as it is."""
    bench = AssumingWorkbench(base, observed, now)
    rollouts = {}
    published = set(observed.published)
    for address, target in targets_on(bench).items():
        if target.release is None or target.key is None:
            continue
        published.add(target.release.package)
        rollouts[address] = RolloutSummary(
            phase=Phase.SUCCEEDED,
            release=target.release,
            key=target.key,
            wave=len(target.rollout.spec.waves) - 1,
            counts={},
            fleet_digest=target.fleet_digest,
            rejected=(),
        )
    return replace(
        observed,
        artifacts={**observed.artifacts, **bench.made},
        remembered={},
        published=frozenset(published),
        rollouts=rollouts,
        champions={},
        failures={},
        inventory=frozenset(base.resources),
        prune_disabled=frozenset(),
    )
