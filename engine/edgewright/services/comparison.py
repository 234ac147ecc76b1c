"""Compares two revisions offline, the older one taken as applied. Called by ``plan --base`` and by ``previews``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgewright.core.planning.assumed import assume_applied
from edgewright.core.planning.plan import Plan
from edgewright.core.planning.planner import plan
from edgewright.core.review.review import ReviewWarning, review
from edgewright.core.snapshot import Snapshot
from edgewright.services.environment import Environment


class ComparedEnvironment(Environment, Protocol):
    """An environment whose history can be read."""

    def merge_base(self, base: str, head: str) -> str:
        """Find the commit that two revisions come from; empty where there is none, or history is cut off."""
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference between two revisions."""

    plan: Plan
    findings: Sequence[ReviewWarning]
    start: str
    """The revision taken as applied."""
    is_where_they_part: bool = True
    """False: the history at hand does not tell where they part, so that ``start`` is the base itself."""


def between(environment: ComparedEnvironment, base: str) -> Comparison:
    """Compare what an environment reads with where it left ``base``.

    That is the commit both come from, so that what ``base`` got since does not look taken back; where the
    history at hand does not tell, ``base`` itself.

    Raises:
        SpecError: The specs of one of them are wrong.
        SourceError, SourceUnavailable: One of them cannot be read.
    """
    desired = environment.source.snapshot()
    base_commit = environment.source_at(base).revision()
    parting = environment.merge_base(base_commit, desired.revision)
    start = parting or base_commit
    before = environment.source_at(start).snapshot()
    found = plan_from(environment, before, desired)
    return Comparison(found, review(before, desired, found), start, bool(parting))


def plan_from(environment: Environment, before: Snapshot, desired: Snapshot) -> Plan:
    """Plan what takes one snapshot to another, the first taken as applied.

    Raises:
        SpecError: Two rollouts claim the same model on the same device.
    """
    now = environment.clock()
    assumed = assume_applied(before, environment.reality(desired).observe(before), now)
    return plan(desired, assumed, now)
