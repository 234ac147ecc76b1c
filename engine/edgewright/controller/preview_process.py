"""Previews computed in a process of their own, within limits. Called by ``previews``; runs ``wiring.preview_worker``.

What a stranger's pull request makes of memory, time and the interpreter's lock is the child's, and ends with it.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from edgewright.controller.preview_reports import Change, PreviewTarget, report_of
from edgewright.core.review.previews import PreviewReport, Verdict
from edgewright.errors import Cancelled, EdgewrightError, PreviewStopped, SourceError, SourceUnavailable
from edgewright.ports import Upstream
from edgewright.render.preview_markdown import description_text, preview_markdown

WORKER = ("-P", "-m", "edgewright.wiring.preview_worker")
_TRANSIENT = 75
"""EX_TEMPFAIL of sysexits.h: the upstream did not answer."""
_REFUSED = 65


@dataclass(frozen=True, slots=True)
class ComputedPreview:
    """A preview, as it is written."""

    verdict: Verdict
    description: str
    text: str
    is_certain: bool
    """True if computing it again gives the same; False where something could not be read."""


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """A change whose preview is to be computed."""

    reached: Sequence[PreviewTarget]
    """Environments that a merge of the change reaches."""
    others: Sequence[PreviewTarget]
    change: Change
    at: datetime
    longest: int
    """Most characters of the comment."""


PreviewComputer = Callable[[PreviewRequest], ComputedPreview]
"""Computes what a change does to the environments it reaches.

Raises:
    SourceUnavailable, SourceError: The commits cannot be read.
    PreviewStopped: It is over a limit.
    Cancelled: The controller stops.
"""


@dataclass(frozen=True, slots=True)
class PreviewLimits:
    """Limits of one preview's process."""

    memory: int = 2 << 30
    """Bytes."""
    cpu: int = 120
    """Seconds of a processor."""
    seconds: float = 240.0


def compute_here(upstream: Upstream) -> PreviewComputer:
    """Compute previews in this process."""

    def compute(request: PreviewRequest) -> ComputedPreview:
        report = report_of(upstream, request.reached, request.others, request.change, request.at)
        return rendered(upstream, report, request.longest)

    return compute


def rendered(upstream: Upstream, report: PreviewReport, longest: int) -> ComputedPreview:
    """Write a report as a comment."""
    report = replace(report, folder=upstream.folder)
    is_certain = not any(environment.trouble for environment in report.environments)
    return ComputedPreview(report.verdict, description_text(report), preview_markdown(report, longest), is_certain)


class PreviewProcess:
    """Starts a process for each preview; implements ``PreviewComputer``."""

    def __init__(
        self,
        workspace: Mapping[str, Any],
        environment: Callable[[], Mapping[str, str]] = lambda: os.environ,
        limits: PreviewLimits | None = None,
    ) -> None:
        """Remember how it is started.

        Args:
            workspace: Says to the worker what repository and state there are.
            environment: Of the process.
            limits: Of the process.
        """
        self._workspace = workspace
        self._environment = environment
        self._limits = limits or PreviewLimits()
        self._running: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    def stop(self) -> None:
        """End the process that runs; its preview is made again by the next controller."""
        self._is_stopped = True
        if (process := self._running) is not None:
            process.kill()

    def __call__(self, request: PreviewRequest) -> ComputedPreview:
        """Compute it, as in ``PreviewComputer``."""
        sent = {
            "workspace": dict(self._workspace),
            "limits": {"memory": self._limits.memory, "cpu": self._limits.cpu},
            "reached": [_target_json(target) for target in request.reached],
            "others": [_target_json(target) for target in request.others],
            "change": asdict(request.change),
            "at": request.at.isoformat(),
            "longest": request.longest,
        }
        code, output, errors = self._run(json.dumps(sent).encode())
        if code == 0:
            return ComputedPreview(**json.loads(output))
        if code in (_TRANSIENT, _REFUSED):
            said = json.loads(output)
            kind = SourceUnavailable if code == _TRANSIENT else SourceError
            raise kind(said["message"], hint=said["hint"])
        if self._is_stopped:
            raise Cancelled("the preview was stopped with the controller")
        raise self._stopped(code, errors)

    def _run(self, request: bytes) -> tuple[int, bytes, bytes]:
        process = subprocess.Popen(
            [sys.executable, *WORKER],
            env=dict(self._environment()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._running = process
        try:
            output, errors = process.communicate(request, self._limits.seconds)
        except subprocess.TimeoutExpired as error:
            limit = f"it took longer than {self._limits.seconds:g} seconds"
            raise PreviewStopped(f"the preview was stopped: {limit}", hint=_HINT) from error
        finally:
            self._running = None
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
        return process.returncode, output, errors

    def _stopped(self, code: int, errors: bytes) -> EdgewrightError:
        said = errors.decode("utf-8", "replace").strip().splitlines()
        if code == -signal.SIGXCPU:
            limit = f"it took more than {self._limits.cpu} seconds of a processor"
        elif code == -signal.SIGKILL or (said and said[-1].startswith("MemoryError")):
            limit = f"it took more than {self._limits.memory >> 20:,} MiB of memory"
        else:
            limit = f"its process ended with code {code}" + (f": {said[-1][:200]}" if said else "")
        return PreviewStopped(f"the preview was stopped: {limit}", hint=_HINT)


_HINT = "make the change smaller; edgewright preview shows it without limits"


def enter_limits(memory: int, cpu: int) -> None:
    """Bind this process to limits, and let the kernel prefer it where memory runs out.

    Where a system has none of a kind, the others hold.
    """
    data, processor, core = (memory, memory), (cpu, cpu + 5), (0, 0)
    for kind, most in ((resource.RLIMIT_DATA, data), (resource.RLIMIT_CPU, processor), (resource.RLIMIT_CORE, core)):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, most)
    with suppress(OSError):
        os.nice(5)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")


def failure_code(error: EdgewrightError) -> int:
    """Return the exit code by which a worker tells that commits cannot be read."""
    return _TRANSIENT if isinstance(error, SourceUnavailable) else _REFUSED


def _target_json(target: PreviewTarget) -> dict[str, Any]:
    return {
        "environment": target.environment,
        "follow": target.follow.model_dump(mode="json", by_alias=True, exclude_none=True),
        "revision": target.revision(),
    }
