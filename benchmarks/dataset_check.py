"""How long the check of an unchanged dataset takes: 100,000 files below a folder, seen before.

``python -m benchmarks.dataset_check FOLDER`` looks once and writes what it took as JSON; each look is a process of
its own, so that what helps must come from the disk. Called by ``__main__``.
"""

import json
import sys
import time
from pathlib import Path

FILES = 100_000
FOLDERS = 100
AGE_SECONDS = 60
"""Older than the two seconds in which a file's stat is not trusted."""


def prepare(folder: Path) -> None:
    """Write the files."""
    for number in range(FOLDERS):
        below = folder / f"data/{number:03}"
        below.mkdir(parents=True)
        for file in range(FILES // FOLDERS):
            (below / f"{file:05}.bin").write_bytes(file.to_bytes(4, "big"))


def change_one(folder: Path) -> None:
    """Change one of the files."""
    (folder / "data/000/00000.bin").write_bytes(b"changed")


def look(folder: Path) -> float:
    """Check the dataset as ``plan`` does; gives the seconds it took."""
    from edgewright.pipeline.dataset.source_index import SourceIndex
    from edgewright_schemas.dataset import Source

    index = SourceIndex(folder, folder / "cache", clock=lambda: time.time_ns() + AGE_SECONDS * 10**9)
    started = time.perf_counter()
    state = index.observe(Source(uri=str(folder / "data"), format="image-folder"))
    taken = time.perf_counter() - started
    assert state.digest is not None, state.problem
    return taken


if __name__ == "__main__":
    print(json.dumps({"seconds": look(Path(sys.argv[1]))}))
