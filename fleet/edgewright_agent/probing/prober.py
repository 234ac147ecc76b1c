"""Proving a model on the device before it serves, and again where it serves. Called by ``agent`` and ``main``.

``ChildProber`` runs each probe as a process of its own, with a time limit; ``in_process`` has one without.
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
from edgewright_agent.probing.outcomes import ProbeOutcome

LOOK_UP_SECONDS = 0.5


class Prober(Protocol):
    """Runs golden samples."""

    def probe(self, slot: Path) -> ProbeOutcome:
        """Run them on a slot that is not active.

        Raises:
            LocalError: The device cannot run a probe now.
        """
        ...

    def verify(self, device_dir: Path, model: str) -> ProbeOutcome:
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
        memory: Bytes of its own that a probe may have; 0: half of the device's.
    """

    def __init__(
        self,
        runtime: str,
        python_path: tuple[str, ...] = (),
        timeout: float = 60.0,
        stopped: Callable[[], bool] = lambda: False,
        memory: float = 0.0,
    ) -> None:
        self._runtime = runtime
        self._python_path = python_path
        self._timeout = timeout
        self._stopped = stopped
        self._memory = int(memory) or None

    def probe(self, slot: Path) -> ProbeOutcome:
        """As in Prober."""
        return self._run({"slot": str(slot)})

    def verify(self, device_dir: Path, model: str) -> ProbeOutcome:
        """As in Prober."""
        return self._run({"device": str(device_dir), "model": model})

    def _run(self, task: dict[str, str]) -> ProbeOutcome:
        whole = {
            **task,
            "runtime": self._runtime,
            "pythonPath": self._python_path,
            "timeout": self._timeout,
            "memory": self._memory,
        }
        # -P keeps the work directory off sys.path: only what is installed, and python_path, is imported.
        command = [sys.executable, "-P", "-m", "edgewright_agent.probing.child"]
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
            return ProbeOutcome(False, 0, 0.0, self._runtime, reason="ProbeTimeout", message=message)
        try:
            return ProbeOutcome.from_json(stdout.decode())
        except (ValueError, TypeError):
            said = " ".join(stderr.decode(errors="replace").split())[-300:]
            message = f"the runtime {_ending(child.returncode)} while running the golden samples: {said or 'no output'}"
            return ProbeOutcome(False, 0, 0.0, self._runtime, reason="ProbeCrashed", message=message)

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


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONFAULTHANDLER": "1"}


def _ending(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with code {returncode}"
