"""A shop chain on one machine: the example's repository, its command line, and its devices as real processes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

RETAIL = Path(__file__).parents[1] / "retail"
PATIENCE = 60.0
"""Seconds to wait for a device before the demo counts as failed."""


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    def json(self) -> Any:
        """Read its output as JSON."""
        return json.loads(self.stdout)


def wait_for(what: str, found: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Look until it is so, or time is up."""
    until = time.monotonic() + seconds
    while not found():
        if time.monotonic() > until:
            sys.stderr.write(f"gave up waiting for {what}\n")
            return False
        time.sleep(0.1)
    return True


@dataclass
class Lab:
    """One copy of the retail example with twelve devices."""

    folder: Path
    _agents: dict[str, tuple["subprocess.Popen[bytes]", IO[bytes]]] = field(default_factory=dict)

    @property
    def repo(self) -> Path:
        """The spec repository."""
        return self.folder / "retail"

    @property
    def devices(self) -> list[dict[str, str]]:
        """The inventory."""
        with (self.repo / "fleets/stores.csv").open() as file:
            return list(csv.DictReader(file))

    def run(self, *command: str, show: bool = False) -> Ran:
        """Run a program in the repository; with ``show`` its progress is seen as it happens."""
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=self.repo,
            stdout=subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        return Ran(done.returncode, done.stdout, done.stderr or "", time.monotonic() - began)

    def edgewright(self, *arguments: str, show: bool = False) -> Ran:
        """Run the real command line."""
        return self.run(sys.executable, "-m", "edgewright.cli.main", *arguments, show=show)

    def git(self, *arguments: str) -> Ran:
        """Run Git as the demo's author."""
        return self.run("git", "-c", "user.name=Demo", "-c", "user.email=demo@localhost", *arguments)

    def prepare(self) -> None:
        """Copy the example, commit it, make keys."""
        shutil.copytree(RETAIL, self.repo, ignore=shutil.ignore_patterns(".edgewright", "__pycache__"))
        self.edit("specs/rollout.yaml", "offlineAfter: 2m", "offlineAfter: 15s")  # the demo does not wait for so long
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Declare the price tag reader")
        self.edgewright("init", ".", "--keys-only")

    def commit(self, message: str) -> str:
        """Commit everything; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "--short", "HEAD").stdout.strip()

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a spec as a person would.

        Raises:
            ValueError: The text to change is not there.
        """
        file = self.repo / path
        text = file.read_text()
        if old not in text:
            raise ValueError(f"{path} does not say {old!r}")
        file.write_text(text.replace(old, new))

    # ── devices ───────────────────────────────────────────────────────────────────────────────────────────────

    def start_all(self) -> None:
        """Set every device up and switch it on."""
        for device in self.devices:
            self._install(device)
            self.start(device["id"])
        reports = self.repo / ".edgewright/reports"
        wait_for("the devices' first reports", lambda: len(list(reports.glob("*.json"))) == len(self.devices))

    def _install(self, device: dict[str, str]) -> None:
        state = self.repo / ".edgewright"
        options = ["--dir", self.folder / device["id"], "--device", device["id"], "--device-class", device["class"]]
        options += ["--repository", state / "repository", "--reports", state / "reports"]
        options += ["--root", state / "repository/metadata/root.json", "--poll", "1s", "--heartbeat", "3s"]
        if device["class"] == "npu-camera":
            options += ["--runtime", "npu:Npu", "--python-path", RETAIL / "devices"]
        ran = self.run(sys.executable, "-m", "edgewright_agent", "init", *map(str, options))
        if ran.code != 0:
            raise RuntimeError(ran.stderr)

    def start(self, device: str) -> None:
        """Switch a device on: a process of its own."""
        log = (self.folder / f"{device}.log").open("ab")
        config = str(self.folder / device / "agent.toml")
        command = [sys.executable, "-m", "edgewright_agent", "run", "--config", config]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._agents[device] = (process, log)

    def stop(self, device: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Pull a device's plug."""
        process, log = self._agents.pop(device)
        process.send_signal(how)
        process.wait()
        log.close()

    def stop_all(self) -> None:
        """Switch every device off."""
        for device in list(self._agents):
            self.stop(device, signal.SIGTERM)

    def running(self) -> dict[str, str | None]:
        """Say which package each device has active, by its own report."""
        rows = self.edgewright("devices", "list", "-o", "json").json()
        return {
            row["device"]: next((m["verified"] for m in row["models"] if m["verified"] == m["active"]), None)
            for row in rows
        }

    def rollout(self) -> Any:
        """Say where the rollout stands."""
        return self.edgewright("rollout", "status", "price-tag-reader", "-o", "json").json()
