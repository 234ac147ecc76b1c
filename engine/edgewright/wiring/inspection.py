"""Inspects ONNX files in a process of its own: a file may be anybody's, and crash or hang whatever reads it."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgewright.errors import EdgewrightError

_SECONDS = 300.0


def inspect_onnx(path: Path) -> dict[str, Any]:
    """Return what ``pipeline.imported.inspection`` finds.

    Raises:
        EdgewrightError: The file cannot be read, or reading it crashes or takes too long.
    """
    if not path.is_file():
        raise EdgewrightError(f"{path} is not there, or no file", hint="name a file in ONNX format")
    command = [sys.executable, "-P", "-m", "edgewright.pipeline.imported.inspection", str(path.absolute())]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise EdgewrightError(f"{path} could not be read within {_SECONDS:g} s") from error
    if ended.returncode:
        how = f"signal {signal.Signals(-ended.returncode).name}" if ended.returncode < 0 else f"code {ended.returncode}"
        said = ended.stderr.decode(errors="replace").strip().splitlines()
        raise EdgewrightError(f"reading {path} ended with {how}", hint=said[-1] if said else "the file may be damaged")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found
