"""``make bench``: measures edgewright beside dvc, and writes docs/benchmarks.md from what it measured."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import dataset_check, machine, page, peer
from benchmarks.measuring import Figures, Run, alternate, run, summarize

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


def _measure_growth(resources: int, beside: Callable[[], Run] | None) -> tuple[page.Size, Figures | None]:
    with _applied(resources) as repository:
        _say(f"planning {resources:,} resources")
        first = summarize([_first_plan(repository) for _ in range(FEW_TIMES)])
        commands = [lambda: _plan(repository)] + ([beside] if beside else [])
        planned, *others = alternate(TIMES, *commands)
        status, validate = alternate(
            FEW_TIMES, *(lambda name=name: run([EDGEWRIGHT, name], repository) for name in ("status", "validate"))
        )
        return page.Size(resources, planned, first, status, validate), others[0] if others else None


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


def main() -> None:
    """Measure everything and write the page."""
    load = machine.load()
    dvc = peer.install(PYTHON)
    with _folder() as folder:
        beside = peer.Peer(dvc, folder)
        _say(f"reproducing {peer.STAGES} dvc stages")
        beside.prepare()
        measured = [_measure_growth(n, beside.status if n == RESOURCES else None) for n in GROWTH]
    status = next(figures for _, figures in measured if figures)
    with _folder() as folder:
        _say("asking for help")
        shown = alternate(TIMES, lambda: run([EDGEWRIGHT, "--help"], folder))[0]
    found = page.Found(
        resources=RESOURCES,
        devices=DEVICES,
        sizes=[size for size, _ in measured],
        plan=next(size.plan for size, _ in measured if size.resources == RESOURCES),
        dvc=status,
        dvc_version=run([str(dvc), "--version"], peer.ROOT).output.strip(),
        dataset=_measure_dataset(),
        help=shown,
        load=load,
    )
    target = peer.ROOT / "docs/benchmarks.md"
    target.write_text(page.write(found, machine.describe()))
    print(target.read_text())


if __name__ == "__main__":
    main()
