"""The engine of an earlier commit, to run the same work with. Called by ``run``."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peer import ROOT
from benchmarks.preparing import folder

BEFORE = "EDGEWRIGHT_BENCH_BEFORE"
_COMMIT = "e5d5467"
"""The build of before, unless the variable names another commit or the folder of a worktree."""
_SOURCES = ("engine", "schemas", "templates", "fleet")


def now() -> Mapping[str, str]:
    """Return the environment in which this tree's engine runs."""
    return _environment(ROOT)


@contextmanager
def before() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the name of the earlier build, and the environment in which it runs; its dependencies are this tree's."""
    named = os.environ.get(BEFORE) or _COMMIT
    if Path(named).is_dir():
        yield named, _environment(Path(named).absolute())
        return
    with folder() as parent:
        tree = parent / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), named], check=True)
        try:
            yield named, _environment(tree)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _environment(root: Path) -> Mapping[str, str]:
    sources = os.pathsep.join(str(root / source) for source in _SOURCES)
    return {**os.environ, "PYTHONPATH": sources, "OMP_NUM_THREADS": "1"}
