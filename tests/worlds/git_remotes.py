"""A remote repository to follow, and commits to it."""

from pathlib import Path

from edgewright_schemas.environment import Follow
from samples.repositories import commit, run_git, write

MAIN = Follow(branch="main")


def push(work: Path, *refs: str) -> None:
    run_git(work, "push", "-q", "--force", "origin", *(refs or ("main",)))


def change(work: Path, text: str = "changed") -> str:
    write(work, {"note.txt": text})
    made = commit(work)
    push(work)
    return made
