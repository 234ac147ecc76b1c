"""The section on building of docs/reference/benchmarks.md, from what was measured and nothing else."""

from collections.abc import Iterator, Mapping

from benchmarks.builds.run import Found
from benchmarks.measuring import Figures
from benchmarks.page import join, machine_table, met, mib, seconds, table

APPLY_GOAL, DATASET_GOAL, TRAINING_GOAL = 0.5, 1.2, 0.95

_HEAD = """\
Before is the engine of commit `{}` with the same libraries; all ran in turns, in one run. `apply` is measured from
nothing to the start of the rollout, start-up included. Dataset steps are measured without imports, beside a plain
Pillow or pyarrow loop that keys, splits, digests and writes the same rows (`benchmarks/builds/plain.py`); training
beside a bare torch loop on the same module and rows. Medians; ratios are of processor time, but for `apply`, whose goal
is time."""


def write_builds(found: Found, machine: Mapping[str, str]) -> str:
    """Write the section."""
    head = _HEAD.format(found.earlier).splitlines()
    return join(["## Building", "", *head, ""], _rows(found), [""], _measured(found, machine))


def _rows(found: Found) -> Iterator[str]:
    before, now = found.apply
    ratio = now.seconds / before.seconds
    rows: list[tuple[str, ...]] = [
        (
            "`apply` of the scaffold's small model",
            _cost(before),
            _cost(now),
            "–",
            f"{ratio:.2f} of before ({now.cpu_seconds / before.cpu_seconds:.2f} of its CPU)",
            f"at most {APPLY_GOAL} of before",
            met(ratio <= APPLY_GOAL),
            "–",
        )
    ]
    for what, figures in (
        (f"dataset of {found.scale.pictures:,} PNG", found.pictures),
        (f"dataset of a CSV of {found.scale.rows:,} rows", found.table),
    ):
        before, now, plain = figures
        ratio = now.cpu_seconds / plain.cpu_seconds
        goal = f"at most {DATASET_GOAL} of plain"
        peak = f"{mib(now.peak_mib)}; before {mib(before.peak_mib)}; plain {mib(plain.peak_mib)}"
        rows.append((what, *map(_cost, figures), f"{ratio:.2f} of plain", goal, met(ratio <= DATASET_GOAL), peak))
    speeds = found.training
    ratio = speeds[1] / speeds[2]
    rates = (f"{speed:.0f} samples/s" for speed in speeds)
    goal = f"at least {TRAINING_GOAL} of bare"
    rows.append(("training, small-cnn", *rates, f"{ratio:.2f} of bare", goal, met(ratio >= TRAINING_GOAL), "–"))
    yield from table(("work", "before", "now", "plain", "ratio", "goal", "met", "peak memory"), rows)


def _cost(figures: Figures) -> str:
    return f"{seconds(figures.seconds)}, {seconds(figures.cpu_seconds)} CPU"


def _measured(found: Found, machine: Mapping[str, str]) -> Iterator[str]:
    load = f"{found.load[0]:.1f} when it began, {found.load[1]:.1f} when it ended"
    yield from machine_table({**machine, "Load": load, "Runs of each": str(found.scale.times)})
    yield ""
    yield "Measure this section again: `python -m benchmarks builds`; `EDGEWRIGHT_BENCH_BEFORE` names another commit."
