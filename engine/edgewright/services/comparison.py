"""Compares two revisions offline, the older one taken as applied. Called by ``plan --base`` and ``preview``."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgewright.core.planning.assumed import assume_applied
from edgewright.core.planning.plan import Plan
from edgewright.core.planning.planner import plan
from edgewright.core.review.review import ReviewWarning, review
from edgewright.core.snapshot import WORKTREE, Snapshot
from edgewright.errors import SourceError
from edgewright.wiring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two revisions."""

    plan: Plan
    findings: Sequence[ReviewWarning]
    start: str
    """The revision taken as applied."""


def between(workspace: Workspace, base: str) -> Comparison:
    """Compare what a workspace reads with where it left ``base``.

    That is the commit both come from, so that what ``base`` got since does not look taken back; where they share no
    history that is at hand, ``base`` itself.

    Raises:
        SpecError: The specs of one of them are wrong.
        SourceError, SourceUnavailable: One of them cannot be read.
    """
    desired = workspace.source.snapshot()
    base_commit = workspace.source_at(base).revision()
    start = _common(workspace, base_commit, desired.revision) or base_commit
    before = workspace.source_at(start).snapshot()
    found = plan_from(workspace, before, desired)
    return Comparison(found, review(before, desired, found), start)


def plan_from(workspace: Workspace, before: Snapshot, desired: Snapshot) -> Plan:
    """Plan what takes one snapshot to another, the first taken as applied.

    Raises:
        SpecError: Two rollouts claim the same model on the same device.
    """
    now = workspace.clock()
    assumed = assume_applied(before, workspace.reality(desired).observe(before), now)
    return plan(desired, assumed, now)


def _common(workspace: Workspace, base: str, head: str) -> str:
    """Find the commit that two come from; empty where the history at hand does not tell."""
    if workspace.is_remote:
        return workspace.upstream.merge(base, head).base
    from edgewright.source.git.repositories import GitRepository

    repository = GitRepository(workspace.root)
    try:
        commit = repository.commit(None) if head.startswith(WORKTREE) else head
        return repository.run("merge-base", base, commit).strip()
    except SourceError:
        return ""
    finally:
        repository.close()
