"""The command step: runs the program a Model declares, which writes an ONNX file. The worker calls ``build``.

What the program sees is in docs/reference/artifacts.md: ``EDGEWRIGHT_DATASET``, ``EDGEWRIGHT_OUTPUT``,
``EDGEWRIGHT_WORKDIR``, and of this process's environment only what names no secret. A line ``edgewright: epoch 3/10
loss=0.2`` on its standard output or error is shown as progress.
"""

import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from edgewright.core.facts import ModelFacts
from edgewright.errors import EdgewrightError, StepFailed, Transient
from edgewright.pipeline.imported.onnx_checks import MODEL, built_from_onnx
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec

_TAIL_LINES = 20
_LINE_CHARACTERS = 4096
_DRAIN_SECONDS = 2.0
_PASSED_ON = (
    "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "EDGEWRIGHT_DEVICE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED",
    "PYTHONDONTWRITEBYTECODE",
)  # fmt: skip
_PROGRESS = re.compile(r"^edgewright: (?P<unit>[a-z]+) (?P<done>\d+)/(?P<total>\d+)(?P<figures>(?: \w+=\S+)*)\s*$")
_KILLED_HINT = "most often the system ran out of memory; free some, or make the command use less"


def build(context: StepContext) -> Built[ModelFacts]:
    """Run the command in the checkout and check the file it wrote.

    Raises:
        StepFailed: The program is not there, failed, or wrote no usable ONNX file.
        Transient: It was killed.
    """
    task = context.task
    spec = ModelSpec.model_validate(task.spec)
    assert spec.command is not None
    output = _output(context.out, spec.output)
    dataset = _dataset_folder(task.workdir / "dataset", task.inputs.get("dataset", {}))
    variables = command_environment(os.environ) | {
        "EDGEWRIGHT_DATASET": str(dataset),
        "EDGEWRIGHT_OUTPUT": str(output),
        "EDGEWRIGHT_WORKDIR": str(context.checkpoint.absolute()),
    }
    listener = _Listener(context)
    code = _run(spec.command, task.checkout, variables, listener)
    if code != 0:
        raise _failed(spec.command, code, listener.tail)
    if not output.is_file():
        raise StepFailed(
            f"{shlex.join(spec.command)} ended well, but wrote no {spec.output}",
            hint=f"it must write the file $EDGEWRIGHT_OUTPUT names; it printed:\n{_shown(listener.tail)}",
        )
    built = built_from_onnx(output, f"{spec.output} of {shlex.join(spec.command)}", context.dataset_or_none())
    return Built(
        digest=built.digest,
        files={MODEL: output},
        facts=built.facts,
        environment={**built.environment, "python": platform.python_version(), "platform": platform.platform()},
    )


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Choose what a command sees of this process's environment; ``python`` is the Python edgewright runs with."""
    folders = [str(Path(sys.executable).parent), environment.get("PATH") or os.defpath]
    passed = {name: environment[name] for name in _PASSED_ON if name in environment}
    return {**passed, "PATH": os.pathsep.join(folders), "PYTHONUNBUFFERED": "1"}


class _Listener:
    """Reads what a command prints: copies it to the step's log, keeps the last lines, reports progress."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def listen(self, stream: IO[str]) -> None:
        """Read to the end."""
        while line := stream.readline(_LINE_CHARACTERS):
            sys.stdout.write(line)
            sys.stdout.flush()
            self.tail.append(line.rstrip("\n"))
            if match := _PROGRESS.match(line):
                self._context.progress(
                    int(match["done"]), int(match["total"]), match["unit"], _figures(match["figures"])
                )


def _run(command: tuple[str, ...], checkout: Path, variables: Mapping[str, str], listener: _Listener) -> int:
    """Run a command to its end; returns its exit code, negative for a signal."""
    try:
        # In this process's group, so that cancelling the worker ends it too.
        process = subprocess.Popen(
            command,
            cwd=checkout,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise StepFailed(
            f"the command's program {command[0]!r} was not found",
            hint="install it where PATH finds it, or name a file of the repository that is listed under inputs",
        ) from error
    except OSError as error:
        raise StepFailed(
            f"the command's program {command[0]!r} cannot be started: {error.strerror}",
            hint="is it executable (git update-index --chmod=+x) and made for this machine?",
        ) from error
    assert process.stdout is not None
    reader = threading.Thread(target=listener.listen, args=(process.stdout,), daemon=True)
    reader.start()
    code = process.wait()
    # A program it left running may hold the pipe open; then the reader stays in it, and closing would wait for it.
    reader.join(_DRAIN_SECONDS)
    if not reader.is_alive():
        process.stdout.close()
    return code


def _failed(command: tuple[str, ...], code: int, tail: deque[str]) -> EdgewrightError:
    name = shlex.join(command)
    if code == -signal.SIGKILL:
        return Transient(f"{name} was killed (SIGKILL)", hint=_KILLED_HINT)
    how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
    missing = any("No such file" in line for line in tail)
    advice = "; it finds only the repository's files that are listed under inputs" if missing else ""
    return StepFailed(f"{name} failed with {how}{advice}", hint=f"it printed:\n{_shown(tail)}")


def _shown(tail: deque[str]) -> str:
    return "\n".join(f"    {line}" for line in tail) or "    nothing"


def _figures(text: str) -> dict[str, float]:
    figures = {}
    for part in text.split():
        name, _, value = part.partition("=")
        try:
            figures[name] = float(value)
        except ValueError:
            continue
    return figures


def _output(folder: Path, name: str) -> Path:
    """Name the file to write, below the output folder."""
    output = (folder / name).absolute()
    if ".." in Path(name).parts or not output.is_relative_to(folder.absolute()) or output == folder.absolute():
        raise StepFailed(f"output {name!r} is no file below the output folder", hint="write a plain name: model.onnx")
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def _dataset_folder(folder: Path, files: Mapping[str, Path]) -> Path:
    """Give a dataset's files their names in one folder; the files themselves are in the blob store."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(path.absolute())
    return folder.absolute()
