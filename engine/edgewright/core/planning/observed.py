"""Observed state: everything the planner may read, gathered before it decides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.config_drift import ConfigDrift
from edgewright.core.rollout.state import RolloutSummary


@dataclass(frozen=True, slots=True)
class SourceState:
    """A dataset source outside Git, as last seen."""

    digest: str | None
    """None: not reachable, or never read."""
    problem: str = ""
    missing: bool = False
    """It is a path on this machine, and nothing is there."""


@dataclass(frozen=True, slots=True)
class Champion:
    """The package a model runs in production: the last one a rollout verified on its whole fleet."""

    package: str
    export: str
    """Digest of the export the package was made from, for evaluating it on today's data."""
    export_fingerprint: str
    variant: str
    train_fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """A consistent picture of reality."""

    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    """By fingerprint. Only those whose stored files are there."""
    remembered: Mapping[str, Artifact] = field(default_factory=dict)
    """Artifacts ever made, whole or not: what reasons compare with. Empty: those of ``artifacts``."""
    sources: Mapping[str, SourceState] = field(default_factory=dict)
    """Sources outside Git, by URI."""
    champions: Mapping[str, Champion] = field(default_factory=dict)
    """By model name."""
    published: frozenset[str] = frozenset()
    """Digests of the packages devices can fetch."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Packages that were published and are not whole any more: what is missing, by digest."""
    drift: tuple[ConfigDrift, ...] = ()
    """What a deep look found and has not been put right since; empty without one."""
    rollouts: Mapping[Address, RolloutSummary] = field(default_factory=dict)
    enrolled: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels of enrolled devices, by id."""
    enrolled_digest: str = ""
    inventory: frozenset[Address] = frozenset()
    """Resources applied before and not pruned since."""
    prune_disabled: frozenset[Address] = frozenset()
    """Those of the inventory whose annotation forbade pruning when they were applied."""
    durations: Mapping[tuple[Action, str], timedelta] = field(default_factory=dict)
    """How long the last such step took, by action and address."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that train; looked up only where a spec pins them."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Messages of steps that failed for good, by fingerprint; not tried again until the fingerprint changes."""
