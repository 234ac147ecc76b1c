"""Merges two commits without a work tree: ``git merge-tree``, and a commit whose id depends on its parts alone.

Called by ``mirrors`` and ``local``.
"""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

from edgewright.errors import SourceError
from edgewright.ports.sources import Merge
from edgewright.source.git.commands import Commands, GitFailed, environment
from edgewright.source.git.history import named_parents

_ALL = 2_147_483_647
"""The depth that git takes for all there is."""
_STEPS = (50, 500, 5_000, _ALL)
"""Commits of history that are fetched until all is known that makes out where the two part."""
_WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "edgewright"), ("EMAIL", "edgewright@localhost"))
}

Deepen = Callable[[tuple[str, ...], int], None]


def merge_commits(commands: Commands, git_dir: Path, base: str, head: str, deepen: Deepen | None) -> Merge:
    """Merge ``head`` into ``base``; both are at hand. The same two give the same revision.

    Args:
        commands: Runs git.
        git_dir: The repository to write into.
        base: A commit.
        head: A commit.
        deepen: Fetches so many commits of the two's history; None where there is no more.

    Raises:
        SourceError: They have no common history, it is cut off before it tells where they part, or git is too old.
        SourceUnavailable: As ``deepen`` raises it.
    """
    settled = is_settled(commands, git_dir, base, head)
    for depth in _STEPS if deepen is not None else ():
        if settled:
            break
        assert deepen is not None
        deepen((base, head), depth)
        settled = is_settled(commands, git_dir, base, head)
    if not settled:
        message = f"the history at hand ends before it tells where {head[:12]} and {base[:12]} part"
        raise SourceError(message, hint="fetch all of it: git fetch --unshallow, in CI a fetch depth of 0")
    common = merge_bases(commands, git_dir, base, head)
    if not common:
        message = f"{head[:12]} and {base[:12]} have no common history at all"
        raise SourceError(message, hint="rebase the one onto the other")
    if common[0] == head:
        return Merge(base, base=head)
    if common[0] == base:
        return Merge(head, base=base)
    tree, conflicts = _tree(commands, git_dir, base, head)
    if conflicts:
        return Merge(None, conflicts, common[0])
    return Merge(_commit(commands, git_dir, tree, base, head), base=common[0])


def is_settled(commands: Commands, git_dir: Path, one: str, other: str) -> bool:
    """Return whether the history at hand tells for certain where two commits part.

    A common commit is not enough: a shorter way to a later one may lie behind a commit whose parents were not fetched.
    It is certain once no such commit is before one of the two alone, nor between several commits where they part.
    """
    try:
        cut = set((git_dir / "shallow").read_text("ascii").split())
    except FileNotFoundError:
        return True
    pending, seen = [(one, other)], set[tuple[str, str]]()
    while pending:
        pair = pending.pop()
        if pair in seen:
            continue
        seen.add(pair)
        common = merge_bases(commands, git_dir, *pair)
        if set(common) & set(pair):
            continue
        ends = cut & set(commands.run(git_dir, "rev-list", f"{pair[0]}...{pair[1]}", "--").split())
        if any(named_parents(commands, git_dir, ends).values()):
            return False
        pending += combinations(common, 2)
    return True


def merge_bases(commands: Commands, git_dir: Path, one: str, other: str) -> tuple[str, ...]:
    """List the last commits that two have in common, in the history at hand."""
    try:
        return tuple(commands.run(git_dir, "merge-base", "--all", one, other).split())
    except GitFailed as error:
        if error.code == 1:
            return ()
        raise


def _tree(commands: Commands, git_dir: Path, base: str, head: str) -> tuple[str, tuple[str, ...]]:
    options = ("--write-tree", "--name-only", "--no-messages", "-z")
    try:
        return commands.run(git_dir, "merge-tree", *options, base, head).split("\0")[0].strip(), ()
    except GitFailed as error:
        if error.code != 1:
            if "usage:" in error.reason:
                raise SourceError("git is too old to merge in memory", hint="install git 2.38 or newer") from error
            raise
        paths = [path for path in error.output.split("\0")[1:] if path.strip()]
        return "", tuple(dict.fromkeys(paths)) or ("(unnamed)",)


def _commit(commands: Commands, git_dir: Path, tree: str, base: str, head: str) -> str:
    seconds = commands.run(git_dir, "show", "--no-patch", "--format=%ct", base, head).split()
    when = f"@{max(map(int, seconds))} +0000"
    variables = environment() | _WHO | {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    message = f"Merge {head} into {base}"
    return commands.run(
        git_dir, "commit-tree", tree, "-p", base, "-p", head, "-m", message, variables=variables
    ).strip()
