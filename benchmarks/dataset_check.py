"""How long the check of an unchanged dataset takes: 100,000 files below a folder, seen before."""

import os
import time
import tracemalloc
from pathlib import Path

from edgewright.build.sources import SourceIndex
from edgewright_schemas.dataset import Source

FILES = 100_000
FOLDERS = 100
AGE_SECONDS = 60
"""Older than the two seconds in which a file's stat is not trusted."""


def run(tmp: Path) -> dict[str, float]:
    """Measure the first look at a dataset and the next; seconds, and the next look's peak of Python's memory in MB."""
    data = tmp / "data"
    for number in range(FOLDERS):
        folder = data / f"{number:03}"
        folder.mkdir(parents=True)
        for file in range(FILES // FOLDERS):
            (folder / f"{file:05}.bin").write_bytes(file.to_bytes(4, "big"))

    def look(ahead_seconds: int = AGE_SECONDS) -> float:
        # A new index each time: what helps must come from the disk, as in a new process.
        index = SourceIndex(tmp, tmp / "cache", clock=lambda: time.time_ns() + ahead_seconds * 10**9)
        started = time.perf_counter()
        state = index.observe(Source(uri=str(data), format="image-folder"))
        assert state.digest is not None, state.problem
        return time.perf_counter() - started

    first = look()
    again = min(look() for _ in range(3))
    tracemalloc.start()
    look()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (data / "000" / "00000.bin").write_bytes(b"changed")
    one_changed = look()
    return {
        "files": FILES,
        "firstSeconds": round(first, 3),
        "unchangedSeconds": round(again, 3),
        "oneChangedSeconds": round(one_changed, 3),
        "unchangedPeakMB": round(peak / 2**20, 1),
        "cpus": os.cpu_count() or 1,
    }
