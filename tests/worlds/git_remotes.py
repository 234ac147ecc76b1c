"""A remote repository to follow, and commits to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewright.source.git.credentials import Credentials
from edgewright.source.git.transports import Limits
from edgewright.source.mirrors import Mirror
from edgewright_schemas.environment import Follow
from samples.repositories import commit, make_repository, run_git, write
from servers.git_server import GitServer

MAIN = Follow(branch="main")


def push(work: Path, *refs: str) -> None:
    run_git(work, "push", "-q", "--force", "origin", *(refs or ("main",)))


def change(work: Path, text: str = "changed") -> str:
    write(work, {"note.txt": text})
    made = commit(work)
    push(work)
    return made


def served_work(folder: Path, server: GitServer) -> Path:
    """A work folder whose remote is on the server."""
    work = make_repository(folder / "work")
    server.add(work)
    return work


@contextmanager
def opening_mirrors(folder: Path, server: GitServer) -> Iterator[Callable[..., Mirror]]:
    """Open mirrors in one folder, as processes of their own would; they are closed at the end."""
    opened: list[Mirror] = []

    def open_(credentials: Credentials | None = None, limits: Limits | None = None, url: str = "") -> Mirror:
        wanted = credentials or Credentials()
        opened.append(Mirror(url or server.url(), folder / "mirror", wanted, cache=None, limits=limits))
        return opened[-1]

    yield open_
    for mirror in opened:
        mirror.close()
