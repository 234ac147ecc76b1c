"""What a team waits for: from a webhook to a plan and to a preview; and what the controller costs while nobody asks.

``python -m benchmarks.controller.hooks FOLDER TIMES IDLE`` serves an applied repository (``workload``) by Git's own
HTTP server, lets a real ``edgewright serve`` follow it, pushes, delivers signed webhooks, and writes the times as JSON.
The forge is the one that tests use, on this machine. Called by ``run``.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.controller.served import Served
from benchmarks.workload import edit
from edgewright.forges.settings import ForgeKind
from servers.forge.server import ForgeServer
from servers.git_server import GitServer

SECRET = "It's a secret to everybody"
_FORGE: ForgeKind = "github"
_REPOSITORY = "acme/shelves"
_LOOK_SECONDS = 0.005
_PATIENCE = 120.0
_QUIET_SECONDS = 3.0
T = TypeVar("T")


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def _wait(what: str, look: Callable[[], T | None]) -> T:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if (found := look()) is not None:
            return found
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"waited {_PATIENCE:g} s for {what}")


class Team:
    """People who push, and the forge that tells the controller."""

    def __init__(self, work: Path, forge: ForgeServer, served: Served) -> None:
        self._work = work
        self._forge = forge
        self._served = served

    def in_force(self, commit: str) -> None:
        """Wait until a commit's status says that everything is ready at it."""
        _wait(f"the status of {commit[:12]}", lambda: self._status(commit, "success"))

    def change(self, number: int) -> dict[str, float]:
        """Push a change that trains nothing; gives the seconds from the webhook's answer to each thing seen."""
        commit = edit(self._work, "thresholds", number)
        _git(self._work, "push", "-q", "origin", "main")
        begun = self._deliver("push", ref="main", after=commit)
        _wait(f"the status of {commit[:12]}", lambda: self._status(commit, "success"))
        seen = time.perf_counter()
        taken = self._served.wait(
            lambda line: line.said.get("event") == "RevisionTaken" and commit[:12] in str(line.said.get("message"))
        )
        return {"taken": taken.at - begun, "planned": seen - begun}

    def propose(self, number: int) -> float:
        """Open a pull request that changes a model; gives the seconds from the webhook's answer to the comment."""
        _git(self._work, "switch", "-q", "-c", f"topic-{number}")
        commit = edit(self._work, "models", number)
        pull = self._forge.open_pull_request(head=commit, base="main")
        _git(self._work, "push", "-q", "origin", f"HEAD:refs/pull/{pull}/head")
        _git(self._work, "switch", "-q", "main")
        begun = self._deliver("pull_request", number=pull, action="opened", head=commit)

        def look() -> float | None:
            said = self._forge.comments(pull)
            return time.perf_counter() if said and f"reader-{number}" in said[0].body else None

        return _wait("the comment", look) - begun

    def _deliver(self, event: Any, **facts: Any) -> float:
        answer = self._forge.deliver(f"{self._served.url}/hooks/{_FORGE}", event, SECRET, **facts)
        assert answer.status_code == 202, answer.text
        return time.perf_counter()

    def _status(self, commit: str, state: str) -> bool | None:
        found = self._forge.statuses(commit).get("edgewright")
        return True if found is not None and found.state == state else None


def measure(work: Path, remotes: Path, times: int, idle_seconds: float) -> dict[str, Any]:
    """Measure it all; the repository has ``times`` commits more afterwards."""
    with ForgeServer(_FORGE, repository=_REPOSITORY) as forge, GitServer(remotes) as server:
        forge.state.began = datetime.now(UTC) - timedelta(hours=1)
        bare = server.add(work, f"{_REPOSITORY}.git")
        _git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
        variables = {"EDGEWRIGHT_WEBHOOK_SECRET": SECRET, **forge.environment()}
        with Served(server.url(f"{_REPOSITORY}.git"), work / ".edgewright", variables) as served:
            team = Team(work, forge, served)
            team.in_force(_head(work))
            started = served.since_start()
            changes = [team.change(number) for number in range(times)]
            previews = [team.propose(number) for number in range(times)]
            time.sleep(_QUIET_SECONDS)
            spent, begun = served.cpu_seconds(), time.perf_counter()
            time.sleep(idle_seconds)
            share = (served.cpu_seconds() - spent) / (time.perf_counter() - begun)
            return {
                "started": started,
                "taken": [change["taken"] for change in changes],
                "planned": [change["planned"] for change in changes],
                "previewed": previews,
                "idle_share": share,
                "memory_mib": served.memory_mib(),
            }


def _head(work: Path) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=work, check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = measure(folder, folder.with_name(f"{folder.name}-remotes"), int(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps(found))
