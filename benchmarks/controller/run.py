"""Measures the controller: from webhook to plan, a pass, and what it costs at rest. Called by ``__main__``.

What needs edgewright itself runs in processes of its own (``standing``, ``hooks``), so that this one stays small.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, peer
from benchmarks.measuring import Figures, alternate, run
from benchmarks.preparing import applied, folder, say


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    sizes: Sequence[tuple[int, int]] = ((100, 1_000), (1_000, 10_000))
    """Resources and devices; the last has the goals."""
    times: int = 9
    idle_seconds: float = 30.0


FULL = Scale()
QUICK = Scale(sizes=((10, 20), (20, 40)), times=2, idle_seconds=3.0)
"""Shows that everything works; its figures mean little."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Several times of the same."""

    median: float
    worst: float

    @classmethod
    def of(cls, times: Sequence[float]) -> "Spread":
        """Put them together."""
        return cls(statistics.median(times), max(times))


@dataclass(frozen=True, slots=True)
class Passes:
    """Seconds of passes inside the loop."""

    first: float
    """From nothing to the first judgement, the look for drift and every rollout included."""
    unchanged: Spread
    changed: Spread
    """One resource has changed; nothing is to be built."""
    looked: Spread
    """Nothing has changed; drift is looked for."""
    started: float
    """From being told of a changed model until it is being trained."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Seconds from a webhook's answer, and the costs of a controller that waits."""

    ready: float
    """From starting the process until the revision's status is at the forge."""
    taken: Spread
    """Until the revision is in force."""
    planned: Spread
    """Until its status is at the forge."""
    previewed: Spread
    """Until the comment is at the forge."""
    idle_share: float
    """Of one core."""
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Size:
    """The controller of a repository of one size."""

    resources: int
    devices: int
    answers: Answers
    passes: Passes


@dataclass(frozen=True, slots=True)
class Found:
    """Everything on the page."""

    times: int
    idle_seconds: float
    sizes: Sequence[Size]
    dvc: Figures
    dvc_version: str


def measure_passes(repository: Path, times: int) -> Passes:
    """Time the passes of a standing run; something is being built in the repository afterwards."""
    found = _measured("standing", repository, times)
    spreads = {name: Spread.of(found[name]) for name in ("unchanged", "changed", "looked")}
    return Passes(first=found["first"][0], started=found["started"][0], **spreads)


def measure(scale: Scale) -> tuple[Found, dict[str, str]]:
    """Measure it all; gives the machine, too."""
    described = dict(machine.describe())
    dvc = peer.install(sys.executable)
    with folder() as made:
        beside = peer.Peer(dvc, made)
        say(f"reproducing {peer.STAGES} dvc stages")
        beside.prepare()
        sizes = [_measure_size(scale, *size) for size in scale.sizes]
        say("asking dvc")
        asked = alternate(scale.times, beside.status)[0]
    version = run([str(dvc), "--version"], peer.ROOT).output.strip()
    return Found(scale.times, scale.idle_seconds, sizes, asked, version), described


def _measure_size(scale: Scale, resources: int, devices: int) -> Size:
    with applied(resources, devices) as repository:
        say(f"serving {resources:,} resources")
        found = _measured("hooks", repository, scale.times, scale.idle_seconds)
        spreads = {name: Spread.of(found[name]) for name in ("taken", "planned", "previewed")}
        answers = Answers(found["started"], **spreads, idle_share=found["idle_share"], memory_mib=found["memory_mib"])
        say(f"timing passes over {resources:,} resources")
        return Size(resources, devices, answers, measure_passes(repository, scale.times))


def _measured(module: str, *arguments: object) -> Any:
    return json.loads(run([sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)], peer.ROOT).output)
