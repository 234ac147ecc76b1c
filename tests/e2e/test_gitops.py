"""The whole loop of a team: pull request, preview, merge, devices verified, revert; over real HTTP remotes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from e2e.controllers import Served
from e2e.fleet import Fleet, wait_for
from edgewright.forges.settings import ForgeKind
from harness.profiles import THOROUGH
from samples.repositories import run_git
from servers.forge.server import ForgeServer
from servers.git_server import GitServer

pytestmark = pytest.mark.e2e

SECRET = "It's a Secret to Everybody"
MODEL = "shelf-stock"
SPEC = f"models/{MODEL}.yaml"
FORGES = ("github", "gitlab", "forgejo") if THOROUGH else ("github",)
"""What forges differ in, ``contract/forges`` tries with each of them."""


class Team:
    """A repository on a server, pull requests on a forge, devices, and the controller between them."""

    def __init__(self, folder: Path, forge: ForgeServer, remotes: GitServer) -> None:
        self.forge = forge
        forge.state.began = datetime.now(UTC) - timedelta(hours=1)
        folder.mkdir(parents=True, exist_ok=True)
        root = folder / "shop"
        self.fleet = Fleet(root, folder)
        self.fleet.root = folder
        self.fleet.edgewright("init", "shop").expect(0)
        self.fleet.root = root
        self.bare = remotes.add(root, "acme/shelves.git")
        self.url = remotes.url("acme/shelves.git")
        run_git(self.bare, "config", "uploadpack.allowAnySHA1InWant", "true")

    def serve(self, *arguments: str, **variables: str) -> Served:
        """Start a controller that only webhooks can wake."""
        return Served(
            self.fleet,
            *("--repo", self.url, "--state", str(self.fleet.root / ".edgewright"), "--interval", "1h", *arguments),
            EDGEWRIGHT_WEBHOOK_SECRET=SECRET,
            **self.forge.environment(),
            **variables,
        )

    def push(self, *refspecs: str) -> None:
        run_git(self.fleet.root, "push", "-q", "-f", "origin", *refspecs)

    def pull_ref(self, number: int) -> str:
        """Where the forge keeps a pull request's head."""
        kind = "merge-requests" if self.forge.kind == "gitlab" else "pull"
        return f"refs/{kind}/{number}/head"

    def comment(self, number: int, *words: str) -> Any:
        """Wait for the one comment to say something."""

        def probe() -> Any:
            found = self.forge.comments(number)
            assert len(found) <= 1, "there must be one comment, edited in place"
            return found[0] if found and all(word in found[0].body for word in words) else None

        return wait_for(f"a comment with {words}", probe, why=self._why(lambda: str(self.forge.comments(number))))

    def status(self, commit: str, context: str, state: str) -> None:
        """Wait for a commit's status."""

        def probe() -> bool:
            found = self.forge.statuses(commit).get(context)
            return found is not None and found.state == state

        wait_for(f"{context} {state}", probe, why=self._why(lambda: str(self.forge.statuses(commit))))

    def told(self, commit: str) -> list[str]:
        """The states that the forge was told of a commit, in this order."""
        posted = [seen for seen in self.forge.requests if seen.method == "POST" and commit in seen.path]
        return [str(seen.body["state"]) for seen in posted if "edgewright/plan" not in str(seen.body)]

    def _why(self, more: Callable[[], str]) -> Callable[[], str]:
        return lambda: f"{more()}\n{self.fleet.logs()}"

    def trained(self) -> int:
        """How often a model was trained."""
        return sum("train " in event["message"] for event in self.fleet.happened("StepDone"))

    def hook(self, served: Served, event: Any, **facts: Any) -> None:
        """Let the forge tell the controller."""
        answer = self.forge.deliver(f"{served.url}/hooks/{self.forge.kind}", event, SECRET, **facts)
        assert answer.status_code == 202, answer.text
        assert answer.json()["accepted"] is True, answer.text


@pytest.mark.parametrize("kind", FORGES)
def test_a_pull_request_is_previewed_merged_verified_and_reverted(tmp_path: Path, kind: ForgeKind) -> None:
    with ForgeServer(kind) as forge, GitServer(tmp_path / "remotes") as remotes:
        team = Team(tmp_path, forge, remotes)
        fleet = team.fleet
        with fleet, team.serve() as served:
            fleet.start_agents()
            first = fleet.wait_verified(MODEL)
            begun = run_git(fleet.root, "rev-parse", "HEAD")
            team.status(begun, "edgewright", "success")

            # Open a pull request.
            run_git(fleet.root, "switch", "-q", "-c", "faster")
            fleet.edit(SPEC, "learningRate: 0.01", "learningRate: 0.012")
            head = fleet.commit("Learn faster")
            number = forge.open_pull_request(head=head, base="main")
            team.push("faster", f"faster:{team.pull_ref(number)}")
            team.hook(served, "pull_request", number=number, action="opened")
            comment = team.comment(number, "training.learningRate", "0.012", head[:7])
            team.status(head, "edgewright/plan", "success")
            assert team.trained() == 1, "a preview trains nothing"

            # Push to it: the same comment, edited.
            fleet.edit(SPEC, "learningRate: 0.012", "learningRate: 0.011")
            head = fleet.commit("Not that fast")
            team.push("faster", f"faster:{team.pull_ref(number)}")
            forge.push_to(number, head)
            team.hook(served, "pull_request", number=number, action="updated")
            again = team.comment(number, "training.learningRate", "0.011", head[:7])
            assert again.id == comment.id

            # Merge it: reconciled, the fleet verified, the status success, and not before.
            run_git(fleet.root, "switch", "-q", "main")
            run_git(fleet.root, "merge", "-q", "--no-ff", "-m", "Merge", "faster")
            merged = run_git(fleet.root, "rev-parse", "HEAD")
            team.push("main")
            forge.close_pull_request(number, merged=True)
            team.hook(served, "push", ref="refs/heads/main")
            team.status(merged, "edgewright", "success")
            second = fleet.wait_verified(MODEL)
            assert second != first
            assert team.trained() == 2
            assert team.told(merged)[0] in {"pending", "running"}, team.told(merged)

            # Revert: the old package is back, and nothing was trained.
            run_git(fleet.root, "revert", "--no-edit", "-m", "1", merged)
            reverted = run_git(fleet.root, "rev-parse", "HEAD")
            team.push("main")
            team.hook(served, "push", ref="refs/heads/main")
            team.status(reverted, "edgewright", "success")
            assert fleet.wait_verified(MODEL, package=first) == first
            assert team.trained() == 2


def test_controllers_that_lead_different_environments_write_one_comment(tmp_path: Path) -> None:
    with ForgeServer("github") as forge, GitServer(tmp_path / "remotes") as remotes:
        team = Team(tmp_path, forge, remotes)
        fleet = team.fleet
        follow = "follow: {branch: main}, reconciliation: {suspend: true}"
        fleet.edit(
            "edgewright.yaml",
            "  paths:",
            f"  environments: [{{name: staging, {follow}}}, {{name: production, {follow}}}]\n  paths:",
        )
        fleet.commit("Declare two environments, which only look")
        team.push("main")
        with fleet, team.serve("--env", "production") as other, team.serve("--env", "staging") as served:
            other.wait_role("active")
            served.wait_role("active")
            run_git(fleet.root, "switch", "-q", "-c", "faster")
            fleet.edit(SPEC, "learningRate: 0.01", "learningRate: 0.012")
            head = fleet.commit("Learn faster")
            number = forge.open_pull_request(head=head, base="main")
            team.push("faster", f"faster:{team.pull_ref(number)}")
            team.hook(served, "pull_request", number=number, action="opened")
            comment = team.comment(number, "#### `staging`", "#### `production`", head[:7])
            assert comment.body.count("model/shelf-stock") >= 2, "each environment has a plan of its own"
            team.hook(other, "pull_request", number=number, action="updated")
            team.status(head, "edgewright/plan", "success")
            assert len(forge.comments(number)) == 1
