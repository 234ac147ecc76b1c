"""Merges two commits without a work tree: ``git merge-tree``, and a commit whose id depends on its parts alone.

Called by ``mirrors`` and ``local``.
"""

from collections.abc import Callable
from pathlib import Path

from edgewright.errors import SourceError
from edgewright.ports.sources import Merge
from edgewright.source.git.commands import Commands, GitFailed, environment

_STEPS = (50, 500, 20_000)
"""Commits of history that are fetched until the two have one in common."""
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
        SourceError: They have no common history, or git is too old.
        SourceUnavailable: As ``deepen`` raises it.
    """
    common = _common(commands, git_dir, base, head)
    for depth in _STEPS if deepen is not None else ():
        if common or not (git_dir / "shallow").is_file():
            break
        assert deepen is not None
        deepen((base, head), depth)
        common = _common(commands, git_dir, base, head)
    if not common:
        where = "in the history at hand" if (git_dir / "shallow").is_file() else "at all"
        message = f"{head[:12]} and {base[:12]} have no common history {where}"
        raise SourceError(message, hint="rebase the one onto the other")
    if common == head:
        return Merge(base, base=common)
    if common == base:
        return Merge(head, base=common)
    tree, conflicts = _tree(commands, git_dir, base, head)
    if conflicts:
        return Merge(None, conflicts, common)
    return Merge(_commit(commands, git_dir, tree, base, head), base=common)


def _common(commands: Commands, git_dir: Path, base: str, head: str) -> str:
    try:
        return commands.run(git_dir, "merge-base", base, head).strip()
    except GitFailed as error:
        if error.code == 1:
            return ""
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
