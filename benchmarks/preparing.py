"""Repositories with everything applied, in temporary folders. Called by ``__main__`` and ``controller``."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import peer
from benchmarks.measuring import run


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for a while."""
    with tempfile.TemporaryDirectory(prefix="edgewright-bench-") as name:
        yield Path(name)


def say(what: str) -> None:
    """Tell who waits what is being done."""
    print(what, file=sys.stderr, flush=True)


@contextmanager
def applied(resources: int, devices: int) -> Iterator[Path]:
    """Make a repository of so many resources and devices, all applied."""
    say(f"applying {resources:,} resources on {devices:,} devices")
    with folder() as made:
        repository = made / "repository"
        repository.mkdir()
        run([sys.executable, "-m", "benchmarks.workload", str(repository), str(resources), str(devices)], peer.ROOT)
        yield repository
