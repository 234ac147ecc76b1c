"""The peer: ``dvc status`` where nothing changed, in a virtual environment of its own. Called by ``__main__``."""

import os
import subprocess
from pathlib import Path

from benchmarks.measuring import Run, run

STAGES = 100
FILES_PER_STAGE = 20
ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
ENVIRONMENT = ROOT / ".venv-bench"
_QUIET = {**os.environ, "DVC_NO_ANALYTICS": "1"}


def install(python: str) -> Path:
    """Make the environment, or bring it up to date; returns the ``dvc`` program."""
    stamp = ENVIRONMENT / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if not stamp.is_file() or stamp.read_text() != wanted:
        subprocess.run([python, "-m", "venv", str(ENVIRONMENT)], check=True)
        pip = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)]
        subprocess.run(pip, check=True)
        stamp.write_text(wanted)
    return ENVIRONMENT / "bin/dvc"


class Peer:
    """A repository of stages, each over a folder of files, all of them reproduced."""

    def __init__(self, dvc: Path, folder: Path) -> None:
        self._dvc = str(dvc)
        self._folder = folder

    def prepare(self) -> None:
        """Write it, and run every stage once."""
        lines = ["stages:"]
        for stage in range(STAGES):
            data = self._folder / f"data/{stage:03}"
            data.mkdir(parents=True)
            for file in range(FILES_PER_STAGE):
                (data / f"{file:02}.txt").write_text(f"{stage} {file}\n")
            lines += [
                f"  stage-{stage:03}:",
                f"    cmd: mkdir -p out && cat data/{stage:03}/*.txt > out/{stage:03}.txt",
                f"    deps: [data/{stage:03}]",
                f"    outs: [out/{stage:03}.txt]",
            ]
        (self._folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
        subprocess.run(["git", "init", "-q"], cwd=self._folder, check=True)
        silence = (["config", "core.analytics", "false"], ["config", "core.check_update", "false"])
        for arguments in (["init", "-q"], *silence, ["repro", "-q"]):
            run([self._dvc, *arguments], self._folder, _QUIET)

    def status(self) -> Run:
        """Ask what changed: nothing.

        Raises:
            RuntimeError: Something did.
        """
        found = run([self._dvc, "status"], self._folder, _QUIET)
        if "up to date" not in found.output:
            raise RuntimeError(f"dvc finds something to do:\n{found.output}")
        return found
