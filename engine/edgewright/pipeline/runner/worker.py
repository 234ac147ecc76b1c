"""The worker process: runs one build step; ``executors.local`` starts it with a task file as its argument.

Three channels connect it to its parent. Progress and the error go as JSON lines through a pipe of their own, so that
what user code prints cannot corrupt them; the result is ``result.json`` in the task's folder, written beside and
renamed; and a second pipe that the parent never writes to ends the worker, with all it started, when the parent dies.
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from edgewright.core.artifact import Action
from edgewright.core.facts import Facts
from edgewright.errors import StepFailed
from edgewright.pipeline.runner.tasks import (
    StagedTask,
    StepContext,
    built_to_json,
    error_to_json,
    finite,
    staged_from_json,
)
from edgewright.ports import Built

STEPS: Mapping[Action, str] = {
    Action.BUILD_DATASET: "edgewright.pipeline.dataset.step:build",
    Action.TRAIN: "edgewright.pipeline.training.step:build",
    Action.IMPORT: "edgewright.pipeline.imported.step:build",
    Action.COMMAND: "edgewright.pipeline.command.step:build",
    Action.EXPORT: "edgewright.pipeline.export.step:build",
    Action.EVALUATE: "edgewright.pipeline.evaluation.step:build",
    Action.PACKAGE: "edgewright.pipeline.packaging.step:build",
}
RESULT = "result.json"
_FASTEST_SECONDS = 0.05
"""Progress without figures is passed on at most this often."""


class Channel:
    """Writes JSON lines to the parent; without a pipe, writes nothing."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._last = 0.0

    def send(self, value: Mapping[str, Any]) -> None:
        """Write one line; a parent that is gone is not an error here."""
        if self._fd is None:
            return
        data = json.dumps(value, allow_nan=False).encode() + b"\n"
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            self._fd = None

    def progress(self, done: int, total: int, unit: str, figures: Mapping[str, float] | None = None) -> None:
        """Report progress; implements tasks.ReportProgress."""
        now = time.monotonic()
        if figures or 0 < total <= done or now - self._last >= _FASTEST_SECONDS:
            self._last = now
            value = {"done": int(done), "total": int(total), "unit": unit, "figures": finite(figures)}
            self.send({"progress": value})


def run_step(task: StagedTask, channel: Channel) -> Built[Facts]:
    """Run a task's step in this process.

    Raises:
        EdgewrightError: As the step raises.
    """
    if task.action not in STEPS:
        raise StepFailed(f"{task.action} is no build step")
    module, _, function = STEPS[task.action].partition(":")
    context = StepContext(task, channel.progress)
    shutil.rmtree(context.out, ignore_errors=True)
    context.out.mkdir(parents=True)
    context.checkpoint.mkdir(parents=True, exist_ok=True)
    seed_everything(seed_of(task.spec))
    return cast(Built[Facts], getattr(importlib.import_module(module), function)(context))


def seed_of(spec: Mapping[str, Any]) -> int:
    """Find the seed a spec declares: training.seed of a model, split.seed of a dataset."""
    section = spec.get("training") or spec.get("split") or {}
    return int(section.get("seed") or 0)


def seed_everything(seed: int) -> None:
    """Seed Python and NumPy; steps that use another source of randomness seed it themselves."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)


def write_result(workdir: Path, built: Built[Facts]) -> None:
    """Write the result beside its place, then rename it there."""
    beside = workdir / f".{RESULT}.{os.getpid()}"
    with beside.open("w") as file:
        json.dump(built_to_json(built), file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(workdir / RESULT)


def end_with_parent(fd: int) -> None:
    """Kill this process's group as soon as the other end of the pipe closes, which it does when the parent dies."""

    def watch() -> None:
        while os.read(fd, 1):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the task named on the command line; 0 when it is done, 1 when it failed and the error was sent."""
    parser = argparse.ArgumentParser(prog="edgewright.pipeline.runner.worker")
    parser.add_argument("task", type=Path)
    parser.add_argument("--progress-fd", type=int)
    parser.add_argument("--lifeline-fd", type=int)
    options = parser.parse_args(arguments)
    for fd in (options.progress_fd, options.lifeline_fd):
        if fd is not None:
            os.set_inheritable(fd, False)
    if options.lifeline_fd is not None:
        end_with_parent(options.lifeline_fd)
    # The checkout holds the repository's files and no others; commands that code starts keep to it, too.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    channel = Channel(options.progress_fd)
    try:
        task = staged_from_json(json.loads(options.task.read_text()))
        write_result(task.workdir, run_step(task, channel))
    except BaseException as error:  # noqa: BLE001 - the parent raises it again, whatever it is
        traceback.print_exc()
        channel.send({"error": error_to_json(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
