"""``make bench``: measures edgewright beside dvc and alone, and writes docs/benchmarks*.md from what it measured."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import dataset_check, machine, page, peer
from benchmarks.measuring import Run, alternate, run, summarize

BIN = Path(sys.executable).parent
PYTHON = sys.executable
EDGEWRIGHT = str(BIN / "edgewright")
RESOURCES, DEVICES = 1_000, 10_000
GROWTH = (100, 1_000, 10_000)
TIMES = 9
FEW_TIMES = 3


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edgewright-bench-") as name:
        yield Path(name)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _plan(repository: Path) -> Run:
    """Plan where nothing is to be done; exit code 0 says that there is not."""
    return run([EDGEWRIGHT, "plan", "--detailed-exitcode"], repository)


def _first_plan(repository: Path) -> Run:
    """Plan without anything cached."""
    shutil.rmtree(repository / ".edgewright/cache", ignore_errors=True)
    return _plan(repository)


@contextmanager
def _applied(resources: int) -> Iterator[Path]:
    _say(f"applying {resources:,} resources on {DEVICES:,} devices")
    with _folder() as folder:
        run([PYTHON, "-m", "benchmarks.workload", str(folder), str(resources), str(DEVICES)], peer.ROOT)
        yield folder


def _measure_growth(resources: int) -> page.Size:
    with _applied(resources) as repository:
        _say(f"planning {resources:,} resources")
        first = summarize([_first_plan(repository) for _ in range(FEW_TIMES)])
        planned = alternate(TIMES, lambda: _plan(repository))[0]
        status, validate = alternate(
            FEW_TIMES, *(lambda name=name: run([EDGEWRIGHT, name], repository) for name in ("status", "validate"))
        )
        return page.Size(resources, planned, first, status, validate)


def _look(folder: Path) -> Run:
    """Check the dataset; the time is the check's own, without the process around it."""
    ran = run([PYTHON, "-m", "benchmarks.dataset_check", str(folder)], peer.ROOT)
    return Run(json.loads(ran.output)["seconds"], ran.cpu_seconds, ran.peak_mib, ran.output)


def _measure_dataset() -> page.DatasetCheck:
    _say(f"writing a dataset of {dataset_check.FILES:,} files")
    with _folder() as folder:
        dataset_check.prepare(folder)
        first = _look(folder)
        unchanged = alternate(TIMES, lambda: _look(folder))[0]
        dataset_check.change_one(folder)
        return page.DatasetCheck(first, unchanged, _look(folder))


def _write(name: str, text: str) -> None:
    target = peer.ROOT / "docs" / name
    target.write_text(text)
    print(text)


def goals() -> None:
    """Measure what has a goal: a plan beside dvc, the dataset check, help."""
    described = machine.describe()
    dvc = peer.install(PYTHON)
    with _folder() as folder:
        beside = peer.Peer(dvc, folder)
        _say(f"reproducing {peer.STAGES} dvc stages")
        beside.prepare()
        with _applied(RESOURCES) as repository:
            _say(f"planning {RESOURCES:,} resources")
            _plan(repository)
            planned, status = alternate(TIMES, lambda: _plan(repository), beside.status)
        _say("asking for help")
        shown = alternate(TIMES, lambda: run([EDGEWRIGHT, "--help"], folder))[0]
    version = run([str(dvc), "--version"], peer.ROOT).output.strip()
    found = page.Goals(RESOURCES, DEVICES, planned, status, version, _measure_dataset(), shown)
    _write("benchmarks.md", page.write_goals(found, described))


def growth() -> None:
    """Measure how plans grow with the repository."""
    described = machine.describe()
    sizes = [_measure_growth(resources) for resources in GROWTH]
    _write("benchmarks-growth.md", page.write_growth(DEVICES, sizes, described))


def main() -> None:
    """Measure what the command line names; everything by default."""
    parts = {"goals": goals, "growth": growth}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
