"""Merge queues: the status that each group of pull requests needs before a forge merges it. Called by ``previews``.

GitHub puts each group on a branch of its own and waits for the same checks as on its pull requests.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from edgewright.controller.preview_process import PreviewComputer, PreviewRequest, rendered
from edgewright.controller.preview_reports import Change, PreviewTarget, following, nothing_follows
from edgewright.errors import Cancelled, EdgewrightError, Transient
from edgewright.ports import Forge, Upstream
from edgewright_schemas.environment import Follow

_BRANCHES = "gh-readonly-queue/"
_GROUP = re.compile(r"gh-readonly-queue/(.+)/pr-\d+-[0-9a-f]{40}")


class MergeQueue:
    """Sets the status of merge groups, once for each commit. Use from one thread at a time."""

    def __init__(
        self,
        upstream: Upstream,
        forge: Forge,
        targets: Callable[[], Sequence[PreviewTarget]],
        clock: Callable[[], datetime],
        context: str,
        report: Callable[[str, str], None],
        compute: PreviewComputer,
    ) -> None:
        """Wire it.

        Args:
            upstream: Where the groups' branches are.
            forge: Receives the statuses.
            targets: The environments there are now.
            clock: Gives aware UTC times.
            context: Of the status.
            report: Is given the trouble with a group, and its commit.
            compute: Computes what a group does.
        """
        self._compute = compute
        self._upstream = upstream
        self._forge = forge
        self._targets = targets
        self._clock = clock
        self._context = context
        self._report = report
        self._told: set[str] = set()

    def set_statuses(self) -> None:
        """Set the status of every group that has none yet.

        Raises:
            ForgeUnavailable: The forge does not answer; groups that have none are told of by the next call.
        """
        groups = self._upstream.branches(_BRANCHES)
        self._told &= set(groups.values())
        for name, commit in groups.items():
            found = _GROUP.fullmatch(name)
            if found is None or commit in self._told:
                continue
            try:
                self._set_status(name, found[1], commit)
            except (Transient, Cancelled):
                raise
            except EdgewrightError as error:
                self._report(f"merge group {name}: {error.message}", commit)
            self._told.add(commit)

    def _set_status(self, name: str, base: str, commit: str) -> None:
        targets, at = tuple(self._targets()), self._clock()
        reached, others = following(targets, base)
        if not reached:
            done = rendered(self._upstream, nothing_follows(targets, base, commit, at), self._forge.comment_limit)
        else:
            self._forge.set_status(commit, self._context, "pending", "computing what merging this would do")
            try:
                base_commit = self._upstream.resolve(Follow(branch=base))
                merge = self._upstream.merge(base_commit, self._upstream.bring(f"refs/heads/{name}"))
                change = Change(base, base_commit, commit, merge.revision, merge.conflicts)
                done = self._compute(PreviewRequest(reached, others, change, at, self._forge.comment_limit))
            except (Transient, Cancelled):
                raise
            except EdgewrightError as error:
                self._forge.set_status(commit, self._context, "error", error.message)
                raise
        self._forge.set_status(commit, self._context, done.verdict, done.description)
