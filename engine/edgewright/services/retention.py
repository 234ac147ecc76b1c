"""What the environments of a store need between them, for ``edgewright gc``: they share artifacts, blobs and work.

An environment needs what it is declared to be, at what it follows and at the revision in force; and what its devices,
rollouts and champions refer to, also when it is declared no more.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree

from edgewright.blobs.retention import Needed, needed
from edgewright.core.planning.observed import Champion, Observed
from edgewright.core.planning.plan import BuildStep
from edgewright.core.planning.planner import plan, reachable
from edgewright.core.rollout.state import RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.errors import Cancelled, SourceError, SpecError
from edgewright.reconcile.accepted import SIGNED, follow_of
from edgewright.reconcile.builds import one_at_a_time, work_lock, work_name
from edgewright.wiring.workspace import Workspace


@dataclass(frozen=True)
class EnvironmentNeeds:
    """What one environment needs."""

    workspace: Workspace
    is_declared: bool
    """Otherwise it is only in the store: it was declared once."""
    is_led: bool
    """Whether what it publishes may be cleaned up, too."""

    @cached_property
    def champions(self) -> Sequence[Champion]:
        """The models in production."""
        return list(self.workspace.state.champions().values())

    @cached_property
    def rollouts(self) -> Sequence[RolloutState]:
        """All of them, whole."""
        store = self.workspace.state
        return [found for address in store.rollout_summaries() if (found := store.rollout(address)) is not None]

    @cached_property
    def uses(self) -> Needed:
        """What devices and rollouts refer to."""
        store = self.workspace.state
        assignments = (entry.assignment for entry in store.assignments().values())
        return needed(assignments, store.reports().values(), self.rollouts)

    @cached_property
    def desired(self) -> Sequence[Snapshot]:
        """What is followed, and what is in force where that is something else.

        Raises:
            SpecError, SourceError: Neither can be read; nothing can be judged then.
        """
        if not self.is_declared:
            return ()
        accepted = (self.workspace.state.accepted_revision() or "").removesuffix(SIGNED)
        found = []
        try:
            found.append(self.workspace.source.snapshot())
        except SpecError:
            if not accepted:
                raise
        if accepted and accepted not in {snapshot.revision for snapshot in found}:
            with suppress(SourceError):  # a branch was rewritten; what is in force then is with devices and rollouts
                found.append(self.workspace.source_at(accepted).snapshot())
        return found

    @cached_property
    def _observed(self) -> Sequence[tuple[Snapshot, Observed]]:
        """What is, as far as each of the desired needs it; from before anything is removed."""
        return [(each, self.workspace.reality(each).observe(each, retry_failures=True)) for each in self.desired]

    @property
    def packages(self) -> frozenset[str]:
        """Digests of packages that devices, rollouts and champions have."""
        return self.uses.packages | {champion.package for champion in self.champions}

    def artifacts(self) -> Iterator[str]:
        """Fingerprints that the specs and the rollouts' configurations are made of."""
        now = self.workspace.clock()
        for desired, observed in self._observed:
            yield from reachable(desired, observed, now)
        for rollout in self.rollouts:
            releases = [rollout.release, *(r for p in rollout.devices.values() for r in (p.release, p.verified))]
            yield from (release.config for release in releases if release is not None and release.config is not None)

    def planned_work(self) -> Iterator[str]:
        """Names of the folders of steps that a run would do."""
        for desired, observed in self._observed:
            for step in plan(desired, observed, self.workspace.clock()).steps:
                if isinstance(step, BuildStep) and step.fingerprint:
                    yield work_name(step.fingerprint)


def needs_of(workspace: Workspace) -> Sequence[EnvironmentNeeds]:
    """Find all environments, declared or in the store. Those that the workspace stands for come first, and are led:
    the one it names; without a name, all that are declared.

    Raises:
        SourceError: There is no such environment.
        SourceUnavailable: The remote does not answer.
    """
    upstream = workspace.upstream
    upstream.fetch(())
    repository = upstream.declared(upstream.resolve(None))
    if workspace.env:
        follow_of(repository, workspace.env)
    declared = [each.name for each in repository.spec.environments] if repository else []
    declared = declared or [""]
    led = [workspace.env] if workspace.env else declared
    names = dict.fromkeys([*led, *declared, *workspace.state.environments()])
    return [
        EnvironmentNeeds(
            workspace if name == workspace.env else workspace.for_environment(name),
            is_declared=name in declared,
            is_led=name in led,
        )
        for name in names
    ]


def collect_published(needs: Sequence[EnvironmentNeeds], *, dry_run: bool) -> int:
    """Remove packages that nobody needs from what is published; gives how many. Folders may be shared."""
    keep: dict[Path, set[str]] = {}
    configs = {digest for each in needs for digest in each.uses.configs}
    for each in needs:
        for desired in each.desired:
            keep.setdefault(each.workspace.delivery_folder(desired), set()).update(each.packages)
    removed = 0
    wrote = {name for each in needs for name in each.workspace.state.environments()}
    for each in needs:
        if each.is_led and each.desired and each.workspace.env in wrote:
            desired = each.desired[0]
            packages = keep[each.workspace.delivery_folder(desired)]
            removed += len(each.workspace.repository(desired).collect(packages, configs, dry_run=dry_run).packages)
    return removed


def abandoned_work(folder: Path, planned: set[str], *, dry_run: bool) -> int:
    """Remove the folders of steps that no run would do, and that none is at; gives how many."""
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
