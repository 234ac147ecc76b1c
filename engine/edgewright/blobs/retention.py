"""Retention: selects the artifacts and blobs to keep. Pure; ``edgewright gc`` calls it, ``gc`` removes the rest.

Kept are:

- artifacts the desired state is made of (the planner knows their fingerprints);
- for each model's champion: its package, and the export and training it came from, because candidates are measured
  against it and may start from its weights;
- packages that any device or rollout has, is assigned or would return to;
- the newest few of each action and address (two by default), so that ``explain`` has something to compare with and
  reverting the last commit rebuilds nothing.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import RolloutState
from edgewright_wire.messages import Assignment, Report

NEWEST = 2


@dataclass(frozen=True, slots=True)
class Needed:
    """Digests that devices and rollouts refer to."""

    packages: frozenset[str] = frozenset()
    configs: frozenset[str] = frozenset()
    """Rendered configurations; blobs of no artifact."""


def needed(
    assignments: Iterable[Assignment], reports: Iterable[Report] = (), rollouts: Iterable[RolloutState] = ()
) -> Needed:
    """Collect what devices run, are assigned, or would return to."""
    packages: set[str] = set()
    configs: set[str] = set()
    for assignment in assignments:
        for model in assignment.models:
            packages.add(model.package.digest)
            if model.config is not None:
                configs.add(model.config.digest)
    for report in reports:
        for said in report.models:
            packages |= {digest for digest in (said.installed, said.active, said.verified) if digest is not None}
    for rollout in rollouts:
        releases = [rollout.release, rollout.proven]
        for progress in rollout.devices.values():
            releases += [progress.release, progress.verified]
        packages |= {release.package for release in releases if release is not None}
    return Needed(frozenset(packages), frozenset(configs))


def kept(
    artifacts: Mapping[str, Artifact],
    *,
    desired: Set[str],
    champions: Iterable[Champion],
    packages: Set[str],
    newest: int = NEWEST,
) -> frozenset[str]:
    """Choose the artifacts to keep.

    Args:
        artifacts: All that are recorded, by fingerprint.
        desired: Fingerprints the current snapshot is made of.
        champions: The models in production.
        packages: Digests of packages that devices or rollouts refer to.
        newest: How many of each action and address to keep in any case.

    Returns:
        Fingerprints.
    """
    champions = list(champions)
    wanted = set(desired) | {c.export_fingerprint for c in champions} | {c.train_fingerprint for c in champions}
    wanted_packages = set(packages) | {c.package for c in champions}
    of_step: dict[tuple[Action, Address], list[Artifact]] = {}
    for artifact in artifacts.values():
        of_step.setdefault((artifact.action, artifact.address), []).append(artifact)
        if artifact.action is Action.PACKAGE and artifact.digest in wanted_packages:
            wanted.add(artifact.fingerprint)
    if newest > 0:
        for made in of_step.values():
            wanted |= {artifact.fingerprint for artifact in sorted(made, key=_age)[-newest:]}
    return frozenset(wanted & artifacts.keys())


def referenced_blobs(artifacts: Mapping[str, Artifact], keep: Set[str], configs: Iterable[str] = ()) -> frozenset[str]:
    """List the digests of the blobs that kept artifacts and configurations are stored in."""
    files = {file.digest for fingerprint in keep for file in artifacts[fingerprint].files.values()}
    return frozenset(files | set(configs))


def _age(artifact: Artifact) -> tuple[float, str]:
    return (artifact.created_at.timestamp() if artifact.created_at else 0.0, artifact.fingerprint)
