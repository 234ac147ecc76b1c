"""Run the command line as users do: in this process where that is enough, in one of its own where it matters.

Repositories are small, and what takes long is left out: ``converge`` runs a real apply on the real stores and the
real delivery, with a builder that makes artifacts at once.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from edgewright.cli.main import run
from edgewright.delivery.repository.keys import create_keys
from edgewright.errors import EdgewrightError
from edgewright.reconcile.listener import NullListener
from edgewright.reconcile.run import RunOptions, RunResult
from edgewright.wiring.workspace import Workspace
from edgewright_wire.layout import report_name
from edgewright_wire.messages import Assignment, ModelReport, Phase, Report
from fakes.builder import FakeBuilder
from samples.repositories import make_repository, write

PROGRAM = Path(sys.executable).parent / "edgewright"
HEAD = "apiVersion: edgewright.dev/v1alpha1\n"
ROWS = "weight,store,label\n" + "".join(f"{n},{'ab'[n % 2]},{'xy'[n % 2]}\n" for n in range(40))
DATASET = (
    HEAD + "kind: Dataset\nmetadata: {name: tags}\nspec:\n  source: {uri: data/tags.csv, format: csv}\n"
    "  columns: {weight: {type: number}, label: {type: category}}\n"
)
DATA_ONLY = {"specs/dataset.yaml": DATASET, "data/tags.csv": ROWS}
MODEL = (
    HEAD + "kind: Model\nmetadata: {name: reader}\nspec:\n  task: tabular-classification\n  dataset: tags\n"
    "  architecture: {use: mlp, with: {hidden: [4]}}\n  training: {epochs: 3, batchSize: 16}\n"
)
WHOLE = {
    **DATA_ONLY,
    "specs/model.yaml": MODEL + "  thresholds: good\n",
    "specs/thresholds.yaml": HEAD + "kind: Thresholds\nmetadata: {name: good}\n"
    "spec: {gates: [{metric: accuracy, min: 0.9}]}\n",
    "specs/fleet.yaml": HEAD + "kind: Fleet\nmetadata: {name: lanes}\nspec:\n  inventory: fleets/lanes.csv\n"
    "  config: {template: templates/lane.toml.j2, path: lane.toml}\n",
    "specs/rollout.yaml": HEAD + "kind: Rollout\nmetadata: {name: reader}\nspec: {model: reader, fleet: lanes, "
    "waves: [{percent: 50}, {percent: 100}]}\n",
    "fleets/lanes.csv": "id,store\nlane-1,a\nlane-2,b\n",
    "templates/lane.toml.j2": "id = '{{ device.id }}'\n",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Everything it wrote."""
        return self.stdout + self.stderr

    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.stdout)

    def expect(self, code: int, *texts: str) -> "Ran":
        """Hold it to an exit code and to texts it must have written, and to no traceback.

        Raises:
            AssertionError: Something else came out; all of it is in the message.
        """
        assert self.code == code, f"exit code {self.code} instead of {code}\n{self.stdout}\n---\n{self.stderr}"
        for text in texts:
            assert text in self.said, f"{text!r} is not in\n{self.stdout}\n---\n{self.stderr}"
        assert "Traceback" not in self.said, self.said
        return self


def repository(folder: Path, files: dict[str, str] | dict[str, str | bytes]) -> Path:
    """Make a repository with signing keys and an empty delivery, as init does."""
    made = make_repository(folder, dict(files))
    create_keys(made / ".edgewright/keys")
    workspace = Workspace(made)
    workspace.repository(workspace.source.snapshot()).create()
    return made


def edgewright(repo: Path, *arguments: str, keyboard: "Keyboard | None" = None) -> Ran:
    """Run a command in this process; its input is no terminal, unless a keyboard is given."""
    command, *rest = arguments
    subcommand = rest[:1] if command in {"dataset", "rollout", "devices", "notify"} else []
    given = ["edgewright", command, *subcommand, "--repo", str(repo), *rest[len(subcommand) :]]
    return edgewright_as(given, keyboard)


def edgewright_as(argv: Sequence[str], keyboard: "Keyboard | None" = None) -> Ran:
    """Run exactly this command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", list(argv)),
        patch.object(sys, "stdin", keyboard or io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            run()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


class Keyboard:
    """Somebody at the keyboard who types this and then Ctrl-D; or who presses Ctrl-C, where it is None."""

    def __init__(self, typed: str | None) -> None:
        self._interrupts = typed is None
        self._typed = io.StringIO(typed or "")

    def isatty(self) -> bool:
        """Return True: it is a terminal."""
        return True

    def readline(self) -> str:
        """Wait for a line."""
        if self._interrupts:
            raise KeyboardInterrupt
        return self._typed.readline()


def spawn(repo: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own, in the repository, its output piped."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [PROGRAM, *arguments],
        cwd=repo,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def ended(process: subprocess.Popen[str], timeout: float = 120.0) -> Ran:
    """Wait for a process to end."""
    with process:
        out, err = process.communicate(timeout=timeout)
    return Ran(process.returncode, out, err)


def converge(
    repo: Path, *, builder: FakeBuilder | None = None, devices: Iterable[str] = (), seconds: float = 20, env: str = ""
) -> RunResult:
    """Apply with a builder that makes artifacts at once; the devices named verify whatever they are assigned."""
    workspace = Workspace(repo, env=env)
    desired = workspace.source.snapshot()
    listener = Answering(workspace, tuple(devices))
    with workspace.lease("a test") as lease:
        listener.answer()
        reconciler = workspace.reconciler(desired, lease, listener)
        reconciler.build_runner = replace(reconciler.build_runner, builder=builder or FakeBuilder())
        return reconciler.run(RunOptions(until=datetime.now(UTC) + timedelta(seconds=seconds)))


class Answering(NullListener):
    """Reports for devices whenever a rollout has moved: each runs what it is assigned."""

    def __init__(self, workspace: Workspace, devices: tuple[str, ...]) -> None:
        self._workspace = workspace
        self._devices = devices
        self._sequence = 0

    def planned(self, plan: object) -> None:
        self.answer()

    def answer(self) -> None:
        """Write a report for each device."""
        assigned = self._workspace.state.assignments()
        for device in self._devices:
            self._sequence += 1
            entry = assigned.get(device)
            write_report(self._workspace.home, device, self._sequence, entry.assignment if entry else None)


def write_report(folder: Path, device: str, sequence: int, assignment: Assignment | None) -> None:
    """Put a device's report into the drop: it has verified what it is assigned."""
    models = tuple(
        ModelReport(
            model=slot.model,
            phase=Phase.VERIFIED,
            release=slot.release,
            installed=slot.package.digest,
            active=slot.package.digest,
            active_release=slot.release,
            verified=slot.package.digest,
        )
        for slot in (assignment.models if assignment else ())
    )
    report = Report(
        device=device,
        sequence=sequence,
        sent_at=datetime.now(UTC),
        agent_version="0.1.0",
        assignment_version=assignment.version if assignment else 0,
        models=models,
    )
    drop = folder / "reports"
    drop.mkdir(parents=True, exist_ok=True)
    beside = drop / f".{device}.part"
    beside.write_bytes(report.to_bytes())
    beside.replace(drop / report_name(device))


def edit(repo: Path, files: dict[str, str] | dict[str, str | bytes]) -> str:
    """Write files and commit everything."""
    from samples.repositories import commit

    write(repo, dict(files))
    return commit(repo)


def failing(message: str) -> EdgewrightError:
    """A step's failure."""
    from edgewright.errors import StepFailed

    return StepFailed(message, hint="look at the data")
