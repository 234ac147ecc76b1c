"""docs/benchmarks.md and docs/benchmarks-growth.md, from what was measured and nothing else. Called by ``__main__``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks import dataset_check, peer
from benchmarks.measuring import Figures, Run

PLAN_RATIO_GOAL = 0.5
CHECK_SECONDS_GOAL = 1.0
HELP_SECONDS_GOAL = 0.25


@dataclass(frozen=True, slots=True)
class Size:
    """Commands on a repository of one size, everything applied."""

    resources: int
    plan: Figures
    first: Figures
    """A plan without anything cached."""
    status: Figures
    validate: Figures


@dataclass(frozen=True, slots=True)
class DatasetCheck:
    """Looks at the dataset."""

    first: Run
    unchanged: Figures
    one_changed: Run


@dataclass(frozen=True, slots=True)
class Goals:
    """What was measured against a goal."""

    resources: int
    """Of the plan that is compared with dvc."""
    devices: int
    plan: Figures
    dvc: Figures
    dvc_version: str
    dataset: DatasetCheck
    help: Figures


def write_goals(found: Goals, machine: Mapping[str, str]) -> str:
    """Write docs/benchmarks.md."""
    versions = {**machine, "dvc": found.dvc_version}
    growth = ["", "How time and memory grow with the repository: [Growth](benchmarks-growth.md)."]
    return _page(["# Benchmarks", "", *_HEAD], _goals(found), growth, _dataset(found), _machine("goals", versions))


def write_growth(devices: int, sizes: Sequence[Size], machine: Mapping[str, str]) -> str:
    """Write docs/benchmarks-growth.md."""
    return _page(["# Growth", "", *_HEAD], _growth(devices, sizes), _machine("growth", machine))


def _page(*parts: Iterable[str]) -> str:
    return "\n".join(line for part in parts for line in part) + "\n"


_HEAD = """\
`make bench` writes this page from what it measures; nothing here is written by hand. Every time is the median
wall-clock time of whole processes, start-up included, unless said otherwise; memory is the peak resident memory of
the process. Plans are measured on a real Git repository with its state store, blob store and signed repository, in
which the reconciler has applied everything and every device has verified its model; only training and the devices
were simulated.""".splitlines()


def _goals(found: Goals) -> Iterator[str]:
    plan, dvc, check, shown = found.plan, found.dvc, found.dataset.unchanged, found.help
    ratio = plan.seconds / dvc.seconds
    files = peer.STAGES * peer.FILES_PER_STAGE
    yield from _heading("Goals")
    yield from _table(
        ("what", "edgewright", f"dvc {found.dvc_version}", "ratio", "goal", "met", "peak memory"),
        [
            (
                f"nothing to do: `plan` of {found.resources:,} resources and {found.devices:,} devices, against "
                f"`dvc status` of {peer.STAGES} stages and {files:,} files",
                _seconds(plan.seconds),
                _seconds(dvc.seconds),
                f"{ratio:.2f}",
                f"ratio at most {PLAN_RATIO_GOAL}",
                _met(ratio <= PLAN_RATIO_GOAL),
                f"{_mib(plan.peak_mib)}; dvc {_mib(dvc.peak_mib)}",
            ),
            (
                f"check of an unchanged dataset of {dataset_check.FILES:,} files",
                _seconds(check.seconds),
                "–",
                "–",
                f"under {CHECK_SECONDS_GOAL:g} s",
                _met(check.seconds < CHECK_SECONDS_GOAL),
                _mib(check.peak_mib),
            ),
            (
                "`edgewright --help`",
                _seconds(shown.seconds),
                "–",
                "–",
                f"under {HELP_SECONDS_GOAL:g} s",
                _met(shown.seconds < HELP_SECONDS_GOAL),
                _mib(shown.peak_mib),
            ),
        ],
    )
    yield ""
    cpu = plan.cpu_seconds / dvc.cpu_seconds
    yield "`plan` and `dvc status` ran in turns."
    yield f"In processor time: {_seconds(plan.cpu_seconds)} against {_seconds(dvc.cpu_seconds)}, ratio {cpu:.2f}."
    yield f"Shortest runs: {_seconds(plan.best)} against {_seconds(dvc.best)}, ratio {plan.best / dvc.best:.2f}."


def _growth(devices: int, sizes: Sequence[Size]) -> Iterator[str]:
    yield ""
    yield f"Nothing to do, {devices:,} devices. The first plan has no cache: it reads and checks every spec and"
    yield "inventory."
    yield ""
    yield from _table(
        ("resources", "`plan`", "peak memory", "first `plan`", "peak memory", "`status`", "`validate` (work tree)"),
        [
            (
                f"{size.resources:,}",
                _seconds(size.plan.seconds),
                _mib(size.plan.peak_mib),
                _seconds(size.first.seconds),
                _mib(size.first.peak_mib),
                _seconds(size.status.seconds),
                _seconds(size.validate.seconds),
            )
            for size in sizes
        ],
    )


def _dataset(found: Goals) -> Iterator[str]:
    check = found.dataset
    yield from _heading("Dataset check")
    yield f"{dataset_check.FILES:,} files outside Git; the time of the check alone, the memory of its process."
    yield ""
    yield from _table(
        ("look", "time", "peak memory"),
        [
            ("first", _seconds(check.first.seconds), _mib(check.first.peak_mib)),
            ("nothing changed", _seconds(check.unchanged.seconds), _mib(check.unchanged.peak_mib)),
            ("one file changed", _seconds(check.one_changed.seconds), _mib(check.one_changed.peak_mib)),
        ],
    )


def _machine(part: str, machine: Mapping[str, str]) -> Iterator[str]:
    yield from _heading("Measured on")
    yield from _table(("", ""), {**machine, "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}.items())
    yield from _heading("Measure again")
    yield f"`make bench`, or this page alone: `python -m benchmarks {part}`. It works in temporary folders, and applies"
    yield "what it then plans, which takes minutes. A busy machine gives larger figures: look at the load before."


def _heading(text: str) -> Iterator[str]:
    yield from ("", f"## {text}", "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def _mib(value: float) -> str:
    return f"{value:.0f} MiB"


def _met(is_met: bool) -> str:
    return "yes" if is_met else "**no**"
