"""A followed repository, local or remote, with signing keys."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from edgewright.core.status.source import SourceStatus
from edgewright.errors import SourceError, SourceUnavailable
from edgewright.ports import Upstream
from edgewright.reconcile.accepted import SIGNED, AcceptedSource
from edgewright.source.git.credentials import Credentials
from edgewright.source.git.transports import Limits
from edgewright.source.local import LocalUpstream
from edgewright.source.mirrors import Mirror
from edgewright_schemas.environment import Follow
from fakes.state import InMemoryState
from fakes.state_tables import Memory
from samples.repositories import FILES, MODEL, commit, make_repository, run_git, write
from samples.signing_keys import SshKey
from servers.git_server import GitServer

SOON = Limits(listing=5, transfer=5, stalled=2, waiting=10)
HEAD = "apiVersion: edgewright.dev/v1alpha1\nkind: Repository\nmetadata: {name: shop}\n"
WRONG = {"specs/model.yaml": MODEL.replace("task: tabular", "task: tubular")}


def environments(*lines: str, more: str = "") -> dict[str, str]:
    """An edgewright.yaml with environments, each as ``name: follow``."""
    declared = "".join(f"    - {{name: {name}, follow: {{{follow}}}}}\n" for name, follow in map(_split, lines))
    listed = f"  environments:\n{declared}" if lines else ""
    return {"edgewright.yaml": f"{HEAD}spec:\n  paths: [specs]\n{listed}" + (f"  {more}\n" if more else "")}


def _split(line: str) -> tuple[str, str]:
    name, _, follow = line.partition(" ")
    return name, follow


class Place:
    """A repository, how it is followed, and a store; ``restart`` is what a new process sees."""

    def __init__(self, folder: Path, server: GitServer | None) -> None:
        self.folder = folder
        self.work = make_repository(folder / "work", FILES)
        self.server = server
        self.memory = Memory()
        if server is not None:
            server.add(self.work)
        self.upstreams: list[Upstream] = []
        self.upstream = self.open()

    def open(self, mirror: str = "mirror") -> Upstream:
        self.upstream = (
            LocalUpstream(self.work, self.folder / mirror, cache=None)
            if self.server is None
            else Mirror(self.server.url(), self.folder / mirror, Credentials(), cache=None, limits=SOON)
        )
        self.upstreams.append(self.upstream)
        return self.upstream

    def followed(self, environment: str = "", ref: str | None = None) -> AcceptedSource:
        """As the controller makes it when it begins to lead."""
        state = InMemoryState(self.memory.other(environment) if environment else self.memory)

        def anchor() -> str | None:
            kept = (memory.tables.accepted for memory in (self.memory, *self.memory.store.environments.values()))
            return next((each for each in kept if each is not None and each.endswith(SIGNED)), None)

        return AcceptedSource(self.upstream, environment, ref, state, state, lambda: datetime.now(UTC), anchor)

    def restart(self, environment: str = "", *, mirror: str = "mirror") -> AcceptedSource:
        self.open(mirror)
        return self.followed(environment)

    def accepted(self, environment: str = "") -> str | None:
        memory = self.memory.other(environment) if environment else self.memory
        return memory.tables.accepted

    def push(self, *refs: str) -> None:
        if self.server is not None:
            run_git(self.work, "push", "-q", "--force", "origin", *(refs or ("main",)))

    def commit(self, files: Mapping[str, str] = {}, *, key: SshKey | None = None) -> str:
        write(self.work, files)
        made = key.commit(self.work) if key is not None else commit(self.work)
        self.push()
        return made

    def look(self, followed: AcceptedSource, *follows: Follow) -> SourceStatus:
        """Fetch, as the supervisor does, and look."""
        error = None
        try:
            fetched = self.upstream.fetch(follows)
        except (SourceError, SourceUnavailable) as failure:
            error, fetched = failure, None
        followed.fetched(rewritten=bool(fetched and fetched.rewritten), error=error)
        return followed.look()


def refused(standing: SourceStatus, reason: str, *, in_force: str | None, candidate: str) -> str:
    """Hold a standing to a refusal that leaves in force what was; returns the message."""
    assert (standing.reason, standing.in_force, standing.candidate) == (reason, in_force, candidate)
    return standing.message
