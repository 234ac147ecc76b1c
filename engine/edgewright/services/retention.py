"""Retention: removes what no environment of a store needs. Environments share artifacts, blobs and folders of work.

An environment needs what it is declared to be, at what it follows and at the revision in force; and what its devices,
rollouts and champions refer to, also when it is declared no more.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import Protocol

from edgewright.blobs.gc import Sweepable, sweep
from edgewright.blobs.retention import Needed, kept, needed, referenced_blobs
from edgewright.core.planning.observed import Champion, Observed
from edgewright.core.planning.plan import BuildStep
from edgewright.core.planning.planner import plan, reachable
from edgewright.core.rollout.state import RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.errors import Cancelled, SourceError, SpecError
from edgewright.ports import Lease
from edgewright.reconcile.accepted import SIGNED, follow_of
from edgewright.reconcile.builds import one_at_a_time, work_lock, work_name
from edgewright.services.environment import Environment


class StoredEnvironment(Environment, Protocol):
    """An environment with the folders of its store."""

    @property
    def folder(self) -> Path:
        """The state folder, which all environments share."""
        ...

    @property
    def blobs(self) -> Sweepable:
        """The stored blobs."""
        ...

    def lease(self, purpose: str) -> AbstractContextManager[Lease]:
        """Hold the right to change things.

        Raises:
            LeaseHeld: Another process has it.
        """
        ...

    def delivery_folder(self, desired: Snapshot) -> Path:
        """Return the folder that is served to devices."""
        ...

    def collect_published(
        self, desired: Snapshot, packages: Collection[str], configs: Collection[str], *, dry_run: bool
    ) -> int:
        """Remove published packages that are neither assigned nor among these; returns how many.

        Args:
            desired: Declares where packages are published.
            packages: Digests that stay.
            configs: Digests of configurations that stay.
            dry_run: Remove nothing.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: It cannot be written.
        """
        ...


@dataclass(frozen=True, slots=True)
class Collected:
    """The number of things that were removed, or would be."""

    artifacts: int
    files: int
    bytes: int
    """Of these files."""
    published_packages: int
    work_folders: int
    kept: int
    """Files that stay."""
    young: int
    """Of those, files that nothing refers to and that are too young to be judged."""


@dataclass(frozen=True)
class EnvironmentNeeds:
    """The needs of one environment."""

    environment: StoredEnvironment
    is_declared: bool
    """Otherwise it is only in the store: it was declared once."""
    is_led: bool
    """Whether what it publishes may be cleaned up, too."""

    @cached_property
    def champions(self) -> Sequence[Champion]:
        """The models in production."""
        return list(self.environment.state.champions().values())

    @cached_property
    def rollouts(self) -> Sequence[RolloutState]:
        """All of them, whole."""
        store = self.environment.state
        return [found for address in store.rollout_summaries() if (found := store.rollout(address)) is not None]

    @cached_property
    def uses(self) -> Needed:
        """The packages and configurations that devices and rollouts refer to."""
        store = self.environment.state
        assignments = (entry.assignment for entry in store.assignments().values())
        return needed(assignments, store.reports().values(), self.rollouts)

    @cached_property
    def desired(self) -> Sequence[Snapshot]:
        """The revision that is followed, and the one in force where that is another.

        Raises:
            SpecError, SourceError: Neither can be read; nothing can be judged then.
        """
        if not self.is_declared:
            return ()
        accepted = (self.environment.state.accepted_revision() or "").removesuffix(SIGNED)
        found = []
        try:
            found.append(self.environment.source.snapshot())
        except SpecError:
            if not accepted:
                raise
        if accepted and accepted not in {snapshot.revision for snapshot in found}:
            with suppress(SourceError):  # a branch was rewritten; what is in force then is with devices and rollouts
                found.append(self.environment.source_at(accepted).snapshot())
        return found

    @cached_property
    def _observed(self) -> Sequence[tuple[Snapshot, Observed]]:
        """Reality as far as each of the desired needs it; from before anything is removed."""
        return [(each, self.environment.reality(each).observe(each, retry_failures=True)) for each in self.desired]

    @property
    def packages(self) -> frozenset[str]:
        """Digests of packages that devices, rollouts and champions have."""
        return self.uses.packages | {champion.package for champion in self.champions}

    def artifacts(self) -> Iterator[str]:
        """Fingerprints that the specs and the rollouts' configurations are made of."""
        now = self.environment.clock()
        for desired, observed in self._observed:
            yield from reachable(desired, observed, now)
        for rollout in self.rollouts:
            releases = [rollout.release, *(r for p in rollout.devices.values() for r in (p.release, p.verified))]
            yield from (release.config for release in releases if release is not None and release.config is not None)

    def planned_work(self) -> Iterator[str]:
        """Names of the folders of steps that a run would do."""
        for desired, observed in self._observed:
            for step in plan(desired, observed, self.environment.clock()).steps:
                if isinstance(step, BuildStep) and step.fingerprint:
                    yield work_name(step.fingerprint)


def collect(environment: StoredEnvironment, *, dry_run: bool, newest: int, min_age: timedelta) -> Collected:
    """Remove artifacts, files, packages and work that no environment needs.

    Args:
        environment: The one to clean up; where it has no name, all that are declared.
        dry_run: Remove nothing, and hold no lease.
        newest: Keep so many of each step in any case.
        min_age: Keep younger files.

    Raises:
        SourceError: There is no such environment.
        SourceUnavailable: The remote does not answer.
        LeaseHeld: Another process changes an environment.
    """
    needs = needs_of(environment)
    with ExitStack() as leases:
        for each in () if dry_run else [each for each in needs if each.is_led]:
            leases.enter_context(each.environment.lease("edgewright gc"))
        return _collect(needs, dry_run=dry_run, newest=newest, min_age=min_age)


def collect_led(environment: StoredEnvironment, *, newest: int, min_age: timedelta) -> Collected:
    """Remove as ``collect`` does, of one environment, for whoever holds its lease and runs nothing in it meanwhile.

    Raises:
        SourceError, SourceUnavailable: As in collect.
    """
    needs = [replace(each, is_led=each.environment is environment) for each in needs_of(environment)]
    return _collect(needs, dry_run=False, newest=newest, min_age=min_age)


def _collect(needs: Sequence[EnvironmentNeeds], *, dry_run: bool, newest: int, min_age: timedelta) -> Collected:
    environment = needs[0].environment
    artifacts = environment.state.artifacts()  # before anything is judged: what others record from now on stays
    keep = kept(
        artifacts,
        desired={fingerprint for each in needs for fingerprint in each.artifacts()},
        champions=[champion for each in needs for champion in each.champions],
        packages={package for each in needs for package in each.packages},
        newest=newest,
    )
    gone = sorted(artifacts.keys() - keep)
    if not dry_run:
        environment.state.forget_artifacts(gone)
    referenced = referenced_blobs(artifacts, keep, (config for each in needs for config in each.uses.configs))
    swept = sweep(environment.blobs, referenced, environment.clock(), min_age=min_age, dry_run=dry_run)
    planned = {name for each in needs for name in each.planned_work()}
    return Collected(
        artifacts=len(gone),
        files=len(swept.blobs),
        bytes=swept.bytes,
        published_packages=_collect_published(needs, dry_run=dry_run),
        work_folders=_abandoned_work(environment.folder, planned, dry_run=dry_run),
        kept=swept.kept,
        young=swept.young,
    )


def needs_of(environment: StoredEnvironment) -> Sequence[EnvironmentNeeds]:
    """Find all environments, declared or in the store. Those to clean up come first, and are led: the one that is
    named; without a name, all that are declared.

    Raises:
        SourceError: There is no such environment.
        SourceUnavailable: The remote does not answer.
    """
    upstream = environment.upstream
    upstream.fetch(())
    repository = upstream.declared(upstream.resolve(None))
    if environment.env:
        follow_of(repository, environment.env)
    declared = [each.name for each in repository.spec.environments] if repository else []
    declared = declared or [""]
    led = [environment.env] if environment.env else declared
    names = dict.fromkeys([*led, *declared, *environment.state.environments()])
    return [
        EnvironmentNeeds(
            environment if name == environment.env else environment.for_environment(name),
            is_declared=name in declared,
            is_led=name in led,
        )
        for name in names
    ]


def _collect_published(needs: Sequence[EnvironmentNeeds], *, dry_run: bool) -> int:
    """Remove published packages that no environment needs; returns how many. Folders may be shared."""
    keep: dict[Path, set[str]] = {}
    configs = {digest for each in needs for digest in each.uses.configs}
    for each in needs:
        for desired in each.desired:
            keep.setdefault(each.environment.delivery_folder(desired), set()).update(each.packages)
    removed = 0
    wrote = {name for each in needs for name in each.environment.state.environments()}
    for each in needs:
        if each.is_led and each.desired and each.environment.env in wrote:
            desired = each.desired[0]
            packages = keep[each.environment.delivery_folder(desired)]
            removed += each.environment.collect_published(desired, packages, configs, dry_run=dry_run)
    return removed


def _abandoned_work(folder: Path, planned: set[str], *, dry_run: bool) -> int:
    """Remove the folders of steps that no run would do, and that no run is at; returns how many."""
    at_once = threading.Event()
    at_once.set()
    removed = 0
    for work in (folder / "work").glob("*"):
        if work.name in planned:
            continue
        with suppress(Cancelled), one_at_a_time(work_lock(folder / "work", work.name), at_once):
            removed += 1
            if not dry_run:
                rmtree(work, ignore_errors=True)
    return removed
