"""``make bench``: measures edgewright beside dvc and alone, and writes the benchmark pages of docs/reference.

``python -m benchmarks [--quick] [goals] [builds] [growth] [controller] [devices]``: the parts that are named, or all.
With ``--quick`` repositories are small, to see that everything works; the pages are only printed.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import dataset_check, machine, page, peer
from benchmarks.builds import run as building
from benchmarks.builds.page import write_builds
from benchmarks.controller import run as controller
from benchmarks.controller.page import write_controller
from benchmarks.devices import run as device_calls
from benchmarks.devices.page import write_devices
from benchmarks.measuring import Run, alternate, run, summarize
from benchmarks.preparing import applied, folder, say

BIN = Path(sys.executable).parent
PYTHON = sys.executable
EDGEWRIGHT = str(BIN / "edgewright")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    resources: int = 1_000
    devices: int = 10_000
    growth: Sequence[int] = (100, 1_000, 10_000)
    times: int = 9
    few_times: int = 3
    standing: controller.Scale = controller.FULL
    calls: device_calls.Scale = device_calls.FULL
    built: building.Scale = building.FULL
    keeps: bool = True
    """Whether the pages are written."""


FULL = Scale()
QUICK = Scale(
    20,
    40,
    growth=(10, 20),
    times=2,
    few_times=1,
    standing=controller.QUICK,
    calls=device_calls.QUICK,
    built=building.QUICK,
    keeps=False,
)


def _plan(repository: Path) -> Run:
    """Plan where nothing is to be done; exit code 0 says that there is not."""
    return run([EDGEWRIGHT, "plan", "--detailed-exitcode"], repository)


def _first_plan(repository: Path) -> Run:
    """Plan without anything cached."""
    shutil.rmtree(repository / ".edgewright/cache", ignore_errors=True)
    return _plan(repository)


def _measure_growth(scale: Scale, resources: int) -> page.Size:
    with applied(resources, scale.devices) as repository:
        say(f"planning {resources:,} resources")
        first = summarize([_first_plan(repository) for _ in range(scale.few_times)])
        planned = alternate(scale.times, lambda: _plan(repository))[0]
        status, validate = alternate(
            scale.few_times, *(lambda name=name: run([EDGEWRIGHT, name], repository) for name in ("status", "validate"))
        )
        say(f"timing passes over {resources:,} resources")
        passes = controller.measure_passes(repository, scale.few_times)
        return page.Size(resources, planned, first, status, validate, passes)


def _look(dataset: Path) -> Run:
    """Check the dataset; the time is the check's own, without the process around it."""
    ran = run([PYTHON, "-m", "benchmarks.dataset_check", str(dataset)], peer.ROOT)
    return Run(json.loads(ran.output)["seconds"], ran.cpu_seconds, ran.peak_mib, ran.output)


def _measure_dataset(scale: Scale) -> page.DatasetCheck:
    say(f"writing a dataset of {dataset_check.FILES:,} files")
    with folder() as dataset:
        dataset_check.prepare(dataset)
        first = _look(dataset)
        unchanged = alternate(scale.times, lambda: _look(dataset))[0]
        dataset_check.change_one(dataset)
        return page.DatasetCheck(first, unchanged, _look(dataset))


def goals(scale: Scale) -> tuple[str, str]:
    """Measure what has a goal: a plan beside dvc, the dataset check, help."""
    described = machine.describe()
    dvc = peer.install(PYTHON)
    with folder() as stages:
        beside = peer.Peer(dvc, stages)
        say(f"reproducing {peer.STAGES} dvc stages")
        beside.prepare()
        with applied(scale.resources, scale.devices) as repository:
            say(f"planning {scale.resources:,} resources")
            _plan(repository)
            planned, status = alternate(scale.times, lambda: _plan(repository), beside.status)
        say("asking for help")
        shown = alternate(scale.times, lambda: run([EDGEWRIGHT, "--help"], stages))[0]
    version = run([str(dvc), "--version"], peer.ROOT).output.strip()
    checked = _measure_dataset(scale)
    found = page.Goals(scale.resources, scale.devices, planned, status, version, checked, shown)
    return "benchmarks.md", page.write_goals(found, described)


def growth(scale: Scale) -> tuple[str, str]:
    """Measure how plans and passes grow with the repository."""
    described = machine.describe()
    sizes = [_measure_growth(scale, resources) for resources in scale.growth]
    return "benchmarks-growth.md", page.write_growth(scale.devices, sizes, described)


def builds(scale: Scale) -> tuple[str, str]:
    """Measure building, beside an earlier build and plain loops."""
    described = machine.describe()
    return "benchmarks.md", write_builds(building.measure(scale.built), described)


def standing(scale: Scale) -> tuple[str, str]:
    """Measure the controller."""
    found, described = controller.measure(scale.standing)
    return "benchmarks-controller.md", write_controller(found, described)


def served_devices(scale: Scale) -> tuple[str, str]:
    """Measure what devices cost the controller."""
    found, described = device_calls.measure(scale.calls)
    return "benchmarks-devices.md", write_devices(found, described)


def calls(scale: Scale) -> tuple[str, str]:
    """Measure polls and reports alone: ``devices`` without pushing, which has peers to install."""
    found, described = device_calls.measure(replace(scale.calls, hosts=0))
    return "", write_devices(found, described)


PARTS = {"goals": goals, "builds": builds, "growth": growth, "controller": standing, "devices": served_devices}
NAMED = {**PARTS, "calls": calls}
"""What the command line may name; without a name, ``PARTS`` run."""


def main() -> None:
    """Measure what the command line names; everything by default."""
    named = [argument for argument in sys.argv[1:] if argument != "--quick"]
    if unknown := sorted(set(named) - NAMED.keys()):
        sys.exit(f"no such part: {', '.join(unknown)}; the parts are {', '.join(NAMED)}, and --quick makes them small")
    scale = QUICK if "--quick" in sys.argv[1:] else FULL
    for name in named or PARTS:
        file, text = NAMED[name](scale)
        if scale.keeps and file:
            page.keep(peer.ROOT / "docs/reference" / file, name, text)
        print(text)


if __name__ == "__main__":
    main()
