"""Ancestry of commits in a shallow history. Called by ``mirrors`` and ``merging``."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edgewright.source.git.commands import Commands, GitFailed
from edgewright.source.git.transports import GoneThere, NotGiven

_MOST = 5000
"""Commits looked at."""
_STEPS = (1, 10, 100)
"""Commits of history fetched to tell a rewritten branch from one that went on."""

History = Mapping[str, tuple[str, ...]]


def history(commands: Commands, git_dir: Path, commit: str) -> History:
    """List a commit and those before it that are at hand, each with the parents it names, at hand or not.

    A shallow history leaves the parents of its oldest commits out; the commits themselves still name them.
    """
    try:
        return named_parents(
            commands, git_dir, commands.run(git_dir, "rev-list", f"--max-count={_MOST}", commit, "--").split()
        )
    except GitFailed:
        return {}


def named_parents(commands: Commands, git_dir: Path, commits: Iterable[str]) -> History:
    """List the parents that commits name, at hand or not; all of the commits are at hand."""
    data = commands.run(git_dir, "cat-file", "--batch", given="\n".join(commits)).encode("utf-8", "surrogateescape")
    found, at = {}, 0
    while at < len(data):
        end = data.index(b"\n", at)
        name, _, size = data[at:end].decode("ascii").split()
        body = data[end + 1 : end + 1 + int(size)].split(b"\n\n", 1)[0]
        lines = body.decode("ascii", "replace").splitlines()
        found[name] = tuple(line.removeprefix("parent ") for line in lines if line.startswith("parent "))
        at = end + 2 + int(size)
    return found


def is_rewritten(
    commands: Commands, git_dir: Path, old: str, new: str, deepen: Callable[[tuple[str, ...], int], None]
) -> bool:
    """Return whether ``old`` is no ancestor of ``new``; False where the history within reach does not show it.

    Args:
        commands: Runs git.
        git_dir: The repository.
        old: A commit that was followed; at hand.
        new: What followed it; at hand.
        deepen: Fetches so many commits of history; raises NotGiven, or GoneThere where the remote lacks one of them.
    """
    shared = False
    for depth in _STEPS:
        if depth > 1:
            try:
                deepen((old, new), depth)
            except GoneThere:
                return True
            except NotGiven:
                return shared
        after, before = history(commands, git_dir, new), history(commands, git_dir, old)
        reached, behind = _named(after), _named(before)
        if old in reached:
            return False
        open_ends = reached - after.keys()
        if not open_ends or open_ends <= behind:
            return True
        shared = bool(reached & behind)
    return shared


def _named(found: History) -> set[str]:
    return set(found) | {parent for parents in found.values() for parent in parents}
