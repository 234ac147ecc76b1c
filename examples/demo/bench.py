"""A copy of an example, and the programs that a user would run in it. What the labs of the demos begin with."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

EXAMPLES = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds to wait for something before a demo counts as failed."""


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    def json(self) -> Any:
        """Read its output as JSON.

        Raises:
            RuntimeError: It has none.
        """
        try:
            return json.loads(self.stdout)
        except ValueError:
            raise RuntimeError(f"exit code {self.code}, and no JSON: {self.stdout}{self.stderr}") from None

    def well(self) -> "Ran":
        """Insist on its having ended well.

        Raises:
            RuntimeError: It did not.
        """
        if self.code != 0:
            raise RuntimeError(f"exit code {self.code}: {self.stdout}{self.stderr}")
        return self


def wait_for(what: str, found: Callable[[], bool], seconds: float = PATIENCE, every: float = 0.1) -> bool:
    """Look until it is so, or time is up."""
    until = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if found():
            return True
        if time.monotonic() > until:
            sys.stderr.write(f"gave up waiting for {what}\n")
            return False
        # To ask may start a program; what is waited for needs the processor more.
        time.sleep(max(every, min(1.0, 2 * (time.monotonic() - asked))))


@dataclass
class Bench:
    """One copy of an example."""

    folder: Path
    """Everything is in here."""
    example: ClassVar[Path]

    @property
    def repo(self) -> Path:
        """The spec repository."""
        return self.folder / self.example.name

    def run(self, *command: str, show: bool = False) -> Ran:
        """Run a program in the repository; with ``show`` its progress is seen as it happens."""
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=self.repo,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr or "", time.monotonic() - began)

    def edgewright(self, *arguments: str, show: bool = False) -> Ran:
        """Run the real command line."""
        return self.run(sys.executable, "-m", "edgewright.cli.main", *arguments, show=show)

    def git(self, *arguments: str) -> Ran:
        """Run Git as the demo's author."""
        return self.run("git", "-c", "user.name=Demo", "-c", "user.email=demo@localhost", *arguments)

    def copy(self) -> None:
        """Make the copy, a Git repository without a commit."""
        shutil.copytree(self.example, self.repo, ignore=shutil.ignore_patterns(".edgewright", "__pycache__"))
        self.git("init", "--quiet", "--initial-branch=main")

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
