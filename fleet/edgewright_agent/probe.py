"""Proving a model on the device before it serves, and again where it serves. Called by ``agent`` and ``main``.

``ChildProber`` is what devices use: each probe is a process of its own, with a time limit. ``InProcessProber`` does the
same without the process, for a runtime that cannot be loaded twice.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edgewright_agent.errors import LocalError
from edgewright_agent.golden import Outcome, judge, probe_slot
from edgewright_agent.handle import ModelHandle, NotActive
from edgewright_agent.runtime import Runtime
from edgewright_wire.messages import ProbeResult

LOOK_UP_SECONDS = 0.5


class Prober(Protocol):
    """Runs golden samples."""

    def probe(self, slot: Path) -> Outcome:
        """Run them on a slot that is not active.

        Raises:
            LocalError: The device cannot run a probe now.
        """
        ...

    def verify(self, device_dir: Path, model: str) -> Outcome:
        """Run them on what is active, through the handle applications use.

        Raises:
            LocalError: As in probe.
        """
        ...


class ChildProber:
    """Runs each probe in a process of its own.

    Args:
        runtime: ``module:Class``.
        python_path: Where else to look for it.
        timeout: Seconds a probe may take.
        stopped: Whether the agent is to end; a probe that runs is cut short then.
    """

    def __init__(
        self,
        runtime: str,
        python_path: tuple[str, ...] = (),
        timeout: float = 60.0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._runtime = runtime
        self._python_path = python_path
        self._timeout = timeout
        self._stopped = stopped

    def probe(self, slot: Path) -> Outcome:
        """As in Prober."""
        return self._run({"slot": str(slot)})

    def verify(self, device_dir: Path, model: str) -> Outcome:
        """As in Prober."""
        return self._run({"device": str(device_dir), "model": model})

    def _run(self, task: dict[str, str]) -> Outcome:
        whole = {**task, "runtime": self._runtime, "pythonPath": self._python_path, "timeout": self._timeout}
        # -P keeps the work directory off sys.path: only what is installed, and python_path, is imported.
        command = [sys.executable, "-P", "-m", "edgewright_agent.probe_child"]
        try:
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
            ) as child:
                try:
                    ended, stdout, stderr = self._wait(child, json.dumps(whole).encode())
                finally:
                    child.kill()
        except OSError as error:
            raise LocalError("ProbeUnavailable", f"cannot start {sys.executable}: {error}") from error
        if not ended:
            message = f"running the golden samples took more than {self._timeout:g} s"
            return Outcome(False, 0, 0.0, self._runtime, reason="ProbeTimeout", message=message)
        try:
            return Outcome.from_json(stdout.decode())
        except (ValueError, TypeError):
            said = " ".join(stderr.decode(errors="replace").split())[-300:]
            message = f"the runtime {_ending(child.returncode)} while running the golden samples: {said or 'no output'}"
            return Outcome(False, 0, 0.0, self._runtime, reason="ProbeCrashed", message=message)

    def _wait(self, child: subprocess.Popen[bytes], task: bytes) -> tuple[bool, bytes, bytes]:
        until = time.monotonic() + self._timeout
        unsent: bytes | None = task
        while time.monotonic() < until:
            try:
                stdout, stderr = child.communicate(unsent, timeout=min(LOOK_UP_SECONDS, self._timeout))
            except subprocess.TimeoutExpired:
                unsent = None  # it is sent, or on its way; communicate goes on with it
                if self._stopped():
                    raise LocalError("Stopped", "the agent was stopped while probing; it probes again") from None
            else:
                return True, stdout, stderr
        return False, b"", b""


class InProcessProber:
    """Runs probes in the agent's own process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def probe(self, slot: Path) -> Outcome:
        """As in Prober."""
        return probe_slot(slot, self._runtime)

    def verify(self, device_dir: Path, model: str) -> Outcome:
        """As in Prober."""
        try:
            handle = ModelHandle(device_dir, model, self._runtime)
        except NotActive as error:
            return Outcome(False, 0, 0.0, self._runtime.describe(), reason=error.reason, message=error.message)
        return judge(handle.current.path, handle.run, self._runtime.describe())


def result_of(outcome: Outcome) -> ProbeResult:
    """Keep of an outcome what goes into a report."""
    return ProbeResult(
        passed=outcome.passed,
        samples=outcome.samples,
        max_error=outcome.max_error,
        atol=outcome.atol,
        latency_p95_ms=outcome.latency_p95_ms,
        runtime=outcome.runtime,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONFAULTHANDLER": "1"}


def _ending(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with code {returncode}"
