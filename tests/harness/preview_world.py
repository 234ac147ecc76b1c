"""A served repository with pull requests, a mirror of it, a forge in memory, and the previewer between them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edgewright.controller.previews import CONTEXT, Previewer, PreviewTarget
from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import Plan
from edgewright.core.planning.planner import plan
from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError
from edgewright.ports import Event, Upstream
from edgewright.source.git.credentials import Credentials
from edgewright.source.upstreams import open_upstream
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Previews
from fakes.forge import MemoryForge
from harness.applied import apply
from harness.command_line import HEAD, WHOLE
from samples.repositories import commit, make_repository, run_git, write

MAIN = Follow(branch="main")
STARTED = datetime(2026, 1, 5, 9, tzinfo=UTC)
ENVIRONMENTS = (
    HEAD + "kind: Repository\nmetadata: {name: shop}\nspec:\n  environments:\n"
    "    - {name: staging, follow: {branch: main}}\n    - {name: production, follow: {branch: main}}\n"
    "    - {name: archive, follow: {semver: '>=1'}}\n"
)
RETRAIN = {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 5")}
LOOSENED = {"specs/thresholds.yaml": WHOLE["specs/thresholds.yaml"].replace("0.9", "0.5")}
Files = Mapping[str, str | None]


@dataclass
class World:
    """A served repository, somebody who works in it, and what previews its pull requests."""

    work: Path
    upstream: Upstream
    forge: MemoryForge = field(default_factory=MemoryForge)
    events: list[Event] = field(default_factory=list)
    now: datetime = STARTED
    settings: Previews = field(default_factory=Previews)
    planned: int = 0
    version: str = "1"
    trouble: EdgewrightError | None = None
    names: tuple[str, ...] = ("",)
    stops_after: int | None = None
    """Plans after which the controller is told to stop."""

    def clock(self) -> datetime:
        """The time."""
        return self.now

    def previewer(self, most: int = 20) -> Previewer:
        """A controller that has just started."""
        return Previewer(
            self.upstream,
            self.forge,
            self.targets,
            self.clock,
            settings=lambda: self.settings,
            report=self.events.append,
            most=most,
            stopping=lambda: self.stops_after is not None and self.planned >= self.stops_after,
        )

    def targets(self) -> list[PreviewTarget]:
        """Every environment; the archive follows versions."""
        return [self._target(name) for name in self.names]

    def _target(self, name: str) -> PreviewTarget:
        follow = Follow(semver=">=1") if name == "archive" else MAIN
        in_force = self.upstream.resolve(MAIN)

        def before() -> Snapshot:
            return self.upstream.source(lambda: in_force, name).snapshot()

        def compute(desired: Snapshot) -> Plan:
            self.planned += 1
            if self.trouble is not None:
                raise self.trouble
            return plan(desired, apply(before(), Observed(), STARTED), self.now)

        return PreviewTarget(name, follow, compute, before, lambda: in_force, lambda: self.version)

    def pull(self, files: Files, *, base: str = "main", number: int | None = None) -> int:
        """Open a pull request with a commit on top of main, or push a new one to it."""
        run_git(self.work, "checkout", "-q", "-B", f"topic-{number or len(self.forge.pulls) + 1}", "main")
        head = self.edit(files)
        if number is None:
            number = self.forge.open_pull_request(head=head, base=base)
        self.forge.push_to(number, head)
        run_git(self.work, "push", "-q", "--force", "origin", f"HEAD:refs/pull/{number}/head")
        run_git(self.work, "checkout", "-q", "main")
        return number

    def merge_to_main(self, files: Files) -> None:
        """Somebody else's change goes in."""
        self.edit(files)
        run_git(self.work, "push", "-q", "origin", "main")
        self.upstream.fetch([MAIN])

    def edit(self, files: Files) -> str:
        """Commit files; None removes one."""
        write(self.work, {path: text for path, text in files.items() if text is not None})
        for path in (path for path, text in files.items() if text is None):
            (self.work / path).unlink()
        return commit(self.work)

    def comment(self, number: int) -> str:
        """The one comment."""
        (said,) = self.forge.said[number]
        return said.body

    def states(self, number: int) -> list[str]:
        """What the status of the head went through."""
        return [each.state for each in self.forge.set.get(self.forge.pulls[number].head, {}).get(CONTEXT, [])]


@contextmanager
def preview_world(folder: Path, files: Mapping[str, str], names: tuple[str, ...] = ("",)) -> Iterator[World]:
    """Serve a repository and mirror it."""
    work, served, state = make_repository(folder / "work", dict(files)), folder / "served.git", folder / "state"
    run_git(folder, "clone", "-q", "--bare", str(work), str(served))
    run_git(work, "remote", "add", "origin", str(served))
    upstream = open_upstream(f"file://{served}", state, Credentials(), cache=state / "cache")
    upstream.fetch([MAIN])
    try:
        yield World(work, upstream, names=names)
    finally:
        upstream.close()
