"""Makes a folder a Git repository with one commit. Called by ``wiring.operations`` for ``edgewright init``."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgewright.errors import EdgewrightError


def commit_first(directory: Path, written: Sequence[Path]) -> bool:
    """Make a folder a Git repository with one commit; its author is edgewright where Git knows no name.

    Returns:
        Whether the files are committed; inside another repository, committing is for its owner.

    Raises:
        EdgewrightError, OSError: Git cannot write it; what it made is removed again, so that it can be repeated.
    """
    from git import GitCommandError, InvalidGitRepositoryError, Repo

    paths = [str(path.resolve().relative_to(directory.resolve())) for path in written]
    try:
        with Repo(directory, search_parent_directories=True) as repo:
            there = [str(path.resolve()) for path in written]
            return repo.head.is_valid() and not repo.git.status("--porcelain", "--ignored", "--", *there)
    except GitCommandError:
        return False
    except InvalidGitRepositoryError:
        pass
    made = directory / ".git"
    is_ours = not made.exists()
    try:
        _begin(directory, paths)
    except (GitCommandError, OSError) as error:
        if is_ours:
            shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, GitCommandError):
            said = error.stderr.strip().removeprefix("stderr: ").strip("' ") or f"it ended with {error.status}"
            raise EdgewrightError(
                f"git cannot make a repository of {directory}: {said}",
                hint="is there space, and may the folder be written? Then run it again",
            ) from error
        raise
    return True


def _begin(directory: Path, paths: Sequence[str]) -> None:
    """Start a repository with these files."""
    from git import Actor, Repo

    with Repo.init(directory, initial_branch="main") as repo:
        repo.index.add(paths)
        with repo.config_reader() as config:
            known = config.has_option("user", "email")
        actor = None if known else Actor("edgewright", "edgewright@localhost")
        repo.index.commit("Declare a first fleet", author=actor, committer=actor)
