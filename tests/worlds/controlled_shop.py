"""A small repository on a server that may fail, for a controller to follow."""

import os
from pathlib import Path
from typing import Any

from e2e.controllers import Served
from e2e.fleet import Fleet, wait_for
from edgewright.state.store import SqlState
from harness.command_line import DATA_ONLY
from samples.repositories import commit, make_repository, run_git, write
from servers.git_server import GitServer

SOON = 20.0
"""Seconds within which something must have ended."""


class Small:
    """A repository of one dataset, for what needs neither training nor devices."""

    def __init__(self, folder: Path, remotes: GitServer) -> None:
        self.root = make_repository(folder / "data", DATA_ONLY)
        self.fleet = Fleet(self.root, folder)
        self.remotes = remotes
        self.bare = remotes.add(self.root, "acme/shelves.git")
        self.url = remotes.url("acme/shelves.git")
        self.state = folder / "state"

    def serve(self, *arguments: str, state: str = "", **variables: str) -> Served:
        where = ("--repo", self.url, "--state", state or str(self.state))
        return Served(self.fleet, *where, "--interval", "1s", *arguments, **variables)

    def change(self, files: dict[str, str] | None = None) -> str:
        """Commit and push."""
        write(self.root, files or {"note": str(os.urandom(4))})
        made = commit(self.root)
        run_git(self.root, "push", "-q", "-f", "origin", "main")
        return made

    def wait_status(self, state: str, type_: str, reason: str = "", env: str = "") -> dict[str, Any]:
        """Wait until the repository's own condition is this one."""

        def probe() -> dict[str, Any] | None:
            with SqlState(state if "://" in state else Path(state) / "state.db", environment=env) as store:
                kept = store.conditions()
            for address, conditions in kept.items():
                for one in conditions:
                    if address.kind == "repository" and one.status == "True" and one.type == type_:
                        return {"reason": one.reason, "message": one.message} if reason in {"", one.reason} else None
            return None

        return wait_for(f"{type_} {reason}", probe, why=self.fleet.logs)
