"""Previews in a process of their own: the same answer, and an end for what takes too much."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgewright.controller.preview_process import (
    ComputedPreview,
    PreviewLimits,
    PreviewProcess,
    PreviewRequest,
    compute_here,
)
from edgewright.controller.preview_reports import Change, PreviewTarget
from edgewright.controller.previews import Previewer
from edgewright.errors import PreviewStopped, SourceError
from edgewright.wiring.environments import LiveEnvironment
from edgewright.wiring.workspace import Workspace
from edgewright_schemas.environment import Follow
from harness.command_line import DATASET, WHOLE, repository
from harness.preview_world import LOOSENED, RETRAIN, preview_world
from samples.repositories import commit, write

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOKEN = "ghp_" + "a1B2" * 10


class Proposal:
    """A repository with a change that is not in force, and the previews of it."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        repo = repository(folder / "repo", WHOLE)
        self.workspace = Workspace(repo, clock=lambda: AT)
        self.upstream = self.workspace.upstream
        base = self.workspace.source.revision()
        write(repo, files)
        head = commit(repo)
        self.change = Change("main", base, head, head)
        environment = LiveEnvironment(self.workspace, self.upstream, lambda: None)
        in_force = self.upstream.source(lambda: base, "").snapshot()
        main = Follow(branch="main")
        self.target = PreviewTarget(
            "", main, lambda proposed: environment.plan(proposed, in_force), lambda: in_force, lambda: base
        )

    def here(self) -> ComputedPreview:
        return compute_here(self.upstream)(self.request())

    def request(self) -> PreviewRequest:
        return PreviewRequest([self.target], [], self.change, AT, 60_000)

    def process(self, limits: PreviewLimits | None = None) -> ComputedPreview:
        process = PreviewProcess(self.workspace.described, lambda: os.environ, limits)
        return process(self.request())


def test_a_process_of_its_own_says_the_same(tmp_path: Path) -> None:
    hidden = {**LOOSENED, "specs/broken.yaml": f"{DATASET}  {TOKEN}: 1\n"}
    for at, files in enumerate(({**RETRAIN, **LOOSENED}, hidden)):
        proposal = Proposal(tmp_path / str(at), dict(files))
        there = proposal.process()
        assert there == proposal.here()
        assert TOKEN not in there.text
    assert there.verdict == "failure"


def test_what_cannot_be_read_is_the_same_error(tmp_path: Path) -> None:
    proposal = Proposal(tmp_path, RETRAIN)
    proposal.change = Change("main", proposal.change.base_commit, "0" * 40, "0" * 40)
    with pytest.raises(SourceError):
        proposal.process()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (PreviewLimits(memory=48 << 20), "MiB of memory"),
        (PreviewLimits(cpu=2), "seconds of a processor"),
        (PreviewLimits(seconds=0.2), "longer than 0.2 seconds"),
    ],
)
def test_what_takes_too_much_is_stopped(tmp_path: Path, limits: PreviewLimits, said: str) -> None:
    numbers = ", ".join(["[1, 2, 3, 4, 5, 6, 7, 8, 9]"] * 15_000)
    proposal = Proposal(tmp_path, {f"specs/many-{at}.yaml": f"{DATASET}  x: [{numbers}]\n" for at in range(3)})
    with pytest.raises(PreviewStopped, match=said):
        proposal.process(limits)


def test_a_preview_that_was_stopped_is_tried_again_after_a_push_only(tmp_path: Path) -> None:
    tried: list[str] = []

    def compute(request: PreviewRequest) -> ComputedPreview:
        tried.append(request.change.head)
        raise PreviewStopped("the preview was stopped: it took more than 120 seconds of a processor")

    with preview_world(tmp_path, WHOLE) as world:
        number = world.pull(RETRAIN)
        previewer = Previewer(
            world.upstream, world.forge, world.targets, world.clock, report=world.events.append, compute=compute
        )
        for version in ("1", "2", "3"):
            world.version = version
            previewer.preview_all(None)
        assert len(tried) == 1
        assert world.states(number) == ["pending", "error"]
        assert ["was stopped" in event.message for event in world.events] == [True]
        world.pull({**LOOSENED, **RETRAIN}, number=number)
        previewer.preview_all({number})
        assert len(tried) == 2
