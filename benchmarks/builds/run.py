"""Measures building: a small model by ``apply``, datasets, training; now, before and by plain loops, in turns."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.builds import earlier
from benchmarks.measuring import Figures, Run, alternate, run
from benchmarks.preparing import folder, say

_HERE = Path(__file__).parent
_PNG, _CSV = "pictures", "table.csv"


@dataclass(frozen=True, slots=True)
class Scale:
    """Amount of data and epochs to build with."""

    pictures: int = 20_000
    rows: int = 1_000_000
    epochs: int = 6
    times: int = 5


FULL = Scale()
QUICK = Scale(pictures=120, rows=400, epochs=2, times=1)


@dataclass(frozen=True, slots=True)
class Found:
    """Measurements of one run."""

    scale: Scale
    earlier: str
    """The commit of before."""
    apply: tuple[Figures, Figures]
    """From nothing to the rollout of the scaffold's model: before, now."""
    pictures: tuple[Figures, Figures, Figures]
    """Before, now, plain."""
    table: tuple[Figures, Figures, Figures]
    training: tuple[float, float, float]
    """Samples for each second of processor time; medians."""
    load: tuple[float, float]
    """One-minute load when it began and ended."""


def measure(scale: Scale) -> Found:
    """Measure all of it."""
    began = os.getloadavg()[0]
    with earlier.before() as (name, then), folder() as work:
        now = earlier.now()
        say("building the scaffold's small model")
        applied = alternate(scale.times, lambda: _apply(work, then), lambda: _apply(work, now))
        say(f"building datasets of {scale.pictures:,} pictures and of {scale.rows:,} rows")
        _write_data(work, scale)
        pictures = _datasets(work, scale, "pictures", _PNG, then, now)
        table = _datasets(work, scale, "table", _CSV, then, now)
        say("training")
        training = _training(work, scale, then, now)
    return Found(
        scale,
        name,
        (applied[0], applied[1]),
        (pictures[0], pictures[1], pictures[2]),
        (table[0], table[1], table[2]),
        training,
        (began, os.getloadavg()[0]),
    )


def _apply(work: Path, environment: Mapping[str, str]) -> Run:
    """Apply a new repository until the rollout of its model starts; memory is not told."""
    repository = work / "scaffold"
    shutil.rmtree(repository, ignore_errors=True)
    edgewright = [str(Path(sys.executable).parent / "edgewright")]
    subprocess.run([*edgewright, "init", str(repository)], env=environment, check=True, stdout=subprocess.DEVNULL)
    used, started, ended = os.times(), time.perf_counter(), 0.0
    with subprocess.Popen(
        [*edgewright, "apply", "--yes"],
        cwd=repository,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "RolloutStarted" in line and not ended:
                ended = time.perf_counter() - started
                process.send_signal(signal.SIGINT)
    if not ended:
        raise RuntimeError(f"the scaffold's model was not built: exit code {process.returncode}")
    after = os.times()
    spent = after.children_user + after.children_system - used.children_user - used.children_system
    return Run(ended, spent, 0.0, "")


def _script(name: str, *arguments: str, environment: Mapping[str, str], work: Path) -> Run:
    return run([sys.executable, str(_HERE / name), *arguments], work, environment)


def _timed(ran: Run) -> Run:
    told = json.loads(ran.output)
    return Run(told["seconds"], told["cpu"], ran.peak_mib, ran.output)


def _step(work: Path, task: str, environment: Mapping[str, str]) -> Run:
    return _timed(_script("step.py", str(work / task), environment=environment, work=work))


def _datasets(
    work: Path, scale: Scale, kind: str, source: str, then: Mapping[str, str], now: Mapping[str, str]
) -> list[Figures]:
    return alternate(
        scale.times,
        lambda: _step(work, f"{kind}.json", then),
        lambda: _step(work, f"{kind}.json", now),
        lambda: _plain(work, kind, source, now),
    )


def _plain(work: Path, kind: str, source: str, environment: Mapping[str, str]) -> Run:
    out = work / "plain"
    out.mkdir(exist_ok=True)
    return _timed(_script("plain.py", kind, str(work / source), str(out), environment=environment, work=work))


def _training(work: Path, scale: Scale, then: Mapping[str, str], now: Mapping[str, str]) -> tuple[float, float, float]:
    def train(how: str, environment: Mapping[str, str]) -> Callable[[], Run]:
        def measured() -> Run:
            shutil.rmtree(work / "training", ignore_errors=True)
            (work / "training").mkdir()
            arguments = (how, str(work / "few"), str(work / "training"), str(scale.epochs))
            ran = _script("training.py", *arguments, environment=environment, work=work)
            return Run(1 / json.loads(ran.output)["samples"], 0.0, ran.peak_mib, "")

        return measured

    found = alternate(scale.times, train("ours", then), train("ours", now), train("bare", now))
    return (1 / found[0].seconds, 1 / found[1].seconds, 1 / found[2].seconds)


def _write_data(work: Path, scale: Scale) -> None:
    noise, chance = np.random.default_rng(1), random.Random(1)
    for number in range(scale.pictures):
        pixels = np.zeros((32, 32, 3), np.uint8) + noise.integers(0, 256, 3, np.uint8)
        at = int(noise.integers(0, 24))
        pixels[at : at + 8, at : at + 8] = noise.integers(0, 256, (8, 8, 3), np.uint8)
        for kept in (_PNG, "few") if number < 1200 else (_PNG,):
            file = work / kept / f"class-{number % 4}" / f"{number:06}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    with (work / _CSV).open("w") as file_:
        file_.write("weight,height,count,label\n")
        for _ in range(scale.rows):
            weight, height, count = chance.random() * 10, chance.gauss(0, 1), chance.randrange(1000)
            file_.write(f"{weight:.4f},{height:.5f},{count},{'abc'[count % 3]}\n")
    numbers = {"weight": {"type": "number"}, "height": {"type": "number"}, "count": {"type": "integer"}}
    label = {"label": {"type": "category"}}
    for task, source, format_, columns in (
        ("pictures", _PNG, "image-folder", {"image": {"type": "image"}, **label}),
        ("table", _CSV, "csv", {**numbers, **label}),
    ):
        spec = {"source": {"uri": str(work / source), "format": format_, "follow": True}, "columns": columns}
        described = {"action": "build-dataset", "address": "dataset/goods", "spec": spec, "checkout": str(work)}
        (work / f"{task}.json").write_text(json.dumps({**described, "workdir": str(work / f"work-{task}")}))
