"""The executor of this machine: each step runs in a worker process of its own.

A fork server that has imported the libraries forks the workers, where that is safe. A worker can be cancelled at any
moment, gives its memory back, and cannot take the controller down. What its code prints goes to ``log.txt`` in the
task's folder.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewright.core.facts import Facts
from edgewright.errors import Cancelled, EdgewrightError, StepFailed, StorageFull, Transient
from edgewright.pipeline.executors.environment import without_ours
from edgewright.pipeline.executors.forking import SUPPORTED, ForkServerClient, ServerLost, WorkerProcess
from edgewright.pipeline.runner.tasks import StagedTask, built_from_json, error_from_json, staged_to_json
from edgewright.pipeline.runner.worker import RESULT
from edgewright.ports import Built, Cancel, Progress

LOG = "log.txt"
TASK = "task.json"
_POLL_SECONDS = 0.1
_LOG_LINES = 15


class LocalExecutor:
    """Runs staged tasks in worker processes; implements staging.Executor. Safe to call from several threads."""

    def __init__(self, *, folders: Sequence[Path] = (), grace_seconds: float = 5.0, threads: int | None = None) -> None:
        """Configure the workers.

        Args:
            folders: Where a dataset's relative source path is looked for when the commit does not have it: the
                repository's work tree, as for sources.SourceIndex.
            grace_seconds: How long a cancelled worker may take to end before it is killed.
            threads: Numeric threads of a worker; by default $OMP_NUM_THREADS, else every CPU this process may use.
        """
        self._folders = [str(folder.absolute()) for folder in folders]
        self._grace = grace_seconds
        self._threads = threads
        self._forks = ForkServerClient() if SUPPORTED else None

    def run(self, task: StagedTask, progress: Callable[[Progress], None], cancel: Cancel) -> Built[Facts]:
        """Run one step in a worker process.

        Raises:
            StepFailed, UserCodeFailed: As the step says, or the worker ended without a result.
            Transient: The worker was killed, by a signal or for want of memory; StorageFull: the disk is full.
            Cancelled: ``cancel`` was set; the worker and everything it started have ended.
        """
        if cancel.is_set():
            raise Cancelled(f"{task.action} of {task.address} was cancelled before it started")
        try:
            for folder in (task.workdir, task.checkout):
                folder.mkdir(parents=True, exist_ok=True)
            (task.workdir / RESULT).unlink(missing_ok=True)
            sent = replace(task, params={"folders": self._folders, **task.params})
            (task.workdir / TASK).write_text(json.dumps(staged_to_json(sent)))
        except OSError as error:
            raise StorageFull(
                f"cannot write {task.workdir}: {error.strerror}", hint="make space, or check who may write there"
            ) from error
        with self._worker(task) as (process, fd):
            failure = self._follow(task, process, fd, progress, cancel)
        if failure is not None:
            raise failure
        if process.returncode or not (task.workdir / RESULT).exists():
            raise _died(task, process.returncode or 0)
        return built_from_json(json.loads((task.workdir / RESULT).read_text()))

    def _environment(self) -> dict[str, str]:
        environment = without_ours(os.environ)
        threads = self._threads or os.environ.get("OMP_NUM_THREADS") or _cpus()
        environment["OMP_NUM_THREADS"] = str(threads)
        environment.setdefault("OPENBLAS_NUM_THREADS", str(threads))
        environment.setdefault("MKL_NUM_THREADS", str(threads))
        environment["PYTHONHASHSEED"] = "0"
        environment["PYTHONUNBUFFERED"] = "1"
        return environment

    def _follow(
        self,
        task: StagedTask,
        process: WorkerProcess,
        fd: int,
        progress: Callable[[Progress], None],
        cancel: Cancel,
    ) -> EdgewrightError | None:
        """Pass progress on until the worker has ended; return the error it sent, if it did."""
        failure: EdgewrightError | None = None
        lines = _Lines(fd)
        while True:
            ended = process.poll() is not None
            for value in lines.read(0 if ended else _POLL_SECONDS):
                if "progress" in value:
                    progress(Progress(task.address, task.action, **value["progress"]))
                elif "error" in value:
                    failure = error_from_json(value["error"])
            if ended:
                return failure
            if cancel.is_set():
                raise Cancelled(f"{task.action} of {task.address} was cancelled", hint="apply again to resume it")

    @contextmanager
    def _worker(self, task: StagedTask) -> Iterator[tuple[WorkerProcess, int]]:
        """Start a worker and yield it with the pipe it reports through; end it and all it started on the way out."""
        progress_read, progress_write = os.pipe()
        lifeline_read, lifeline_write = os.pipe()
        try:
            try:
                process = self._start(task, progress_write, lifeline_read)
            except OSError as error:
                raise Transient(f"cannot start a worker for {task.address}: {error}") from error
            finally:
                os.close(progress_write)
                os.close(lifeline_read)
            try:
                yield process, progress_read
            finally:
                _end(process, self._grace)
        finally:
            os.close(progress_read)
            os.close(lifeline_write)

    def _start(self, task: StagedTask, progress: int, lifeline: int) -> WorkerProcess:
        file, environment = (task.workdir / TASK).absolute(), self._environment()
        with (task.workdir / LOG).open("wb") as log:
            if self._forks is not None:
                with suppress(ServerLost):
                    pipes = (progress, lifeline)
                    return self._forks.start(task, file, environment, pipes, log.fileno())
            command = [sys.executable, "-P", "-m", "edgewright.pipeline.runner.worker", str(file)]
            return subprocess.Popen(
                [*command, "--progress-fd", str(progress), "--lifeline-fd", str(lifeline)],
                cwd=task.checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(progress, lifeline),
                start_new_session=True,
            )


class _Lines:
    """Reads JSON lines from a pipe without blocking longer than asked."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._rest = b""
        self._open = True

    def read(self, timeout: float) -> Iterator[dict[str, Any]]:
        """Yield what arrives within ``timeout`` seconds; everything that is there already when it is 0."""
        if not self._open:
            time.sleep(min(timeout, _POLL_SECONDS))
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd, selectors.EVENT_READ)
            while selector.select(timeout):
                data = os.read(self._fd, 1 << 16)
                if not data:
                    self._open = False
                    return
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    yield json.loads(line)
                timeout = 0


def _end(process: WorkerProcess, grace: float) -> None:
    """End a worker's whole process group: politely, then not."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    # Members of the group may outlive its leader; the worker's own children have no other owner.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _died(task: StagedTask, code: int) -> EdgewrightError:
    """Describe the end of a worker that sent neither a result nor an error."""
    what = f"the worker of {task.action} for {task.address}"
    tail = log_tail(task.workdir)
    if code >= 0:
        return StepFailed(f"{what} ended with exit code {code} and without a result", hint=tail)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if name == "SIGKILL":
        return Transient(
            f"{what} was killed (SIGKILL)",
            hint="most often the system ran out of memory; free some, or use less data or smaller batches",
        )
    return Transient(f"{what} was ended by {name}", hint=tail)


def log_tail(workdir: Path, lines: int = _LOG_LINES) -> str:
    """Return the last lines of what a step printed, for messages."""
    try:
        with (workdir / LOG).open(errors="replace") as log:
            return "".join(deque(log, maxlen=lines)).rstrip()
    except FileNotFoundError:
        return ""


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
