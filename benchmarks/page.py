"""Write the benchmark pages of docs/reference, from what was measured and nothing else. Called by ``__main__``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import dataset_check, peer
from benchmarks.controller.run import Passes
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
    passes: Passes


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
    """Write docs/reference/benchmarks.md."""
    versions = {**machine, "dvc": found.dvc_version}
    growth = ["", "How time and memory grow with the repository: [Growth](benchmarks-growth.md)."]
    growth += ["What following a repository all day costs: [The controller](benchmarks-controller.md)."]
    return join(["# Benchmarks", "", *_HEAD], _goals(found), growth, _dataset(found), measured_on("goals", versions))


def write_growth(devices: int, sizes: Sequence[Size], machine: Mapping[str, str]) -> str:
    """Write docs/reference/benchmarks-growth.md."""
    return join(["# Growth", "", *_HEAD], _growth(devices, sizes), measured_on("growth", machine))


def keep(file: Path, part: str, text: str) -> None:
    """Write what a part measured: its section between two marks at the page's end, or else all that is above them."""
    old = file.read_text() if file.is_file() else ""
    begin, end = f"<!-- {part} -->", f"<!-- /{part} -->"
    marked = old.partition("<!-- ")[2]
    if not text.startswith("## "):
        file.write_text(f"{text}\n<!-- {marked}" if marked else text)
        return
    first, _, rest = old.partition(begin)
    after = rest.partition(end)[2].strip("\n")
    file.write_text(first.rstrip("\n") + f"\n\n{begin}\n{text}{end}\n" + (f"\n{after}\n" if after else ""))


def join(*parts: Iterable[str]) -> str:
    """Put lines together."""
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
    yield from heading("Goals")
    yield from table(
        ("what", "edgewright", f"dvc {found.dvc_version}", "ratio", "goal", "met", "peak memory"),
        [
            (
                f"nothing to do: `plan` of {found.resources:,} resources and {found.devices:,} devices, against "
                f"`dvc status` of {peer.STAGES} stages and {files:,} files",
                seconds(plan.seconds),
                seconds(dvc.seconds),
                f"{ratio:.2f}",
                f"ratio at most {PLAN_RATIO_GOAL}",
                met(ratio <= PLAN_RATIO_GOAL),
                f"{mib(plan.peak_mib)}; dvc {mib(dvc.peak_mib)}",
            ),
            (
                f"check of an unchanged dataset of {dataset_check.FILES:,} files",
                seconds(check.seconds),
                "–",
                "–",
                f"under {CHECK_SECONDS_GOAL:g} s",
                met(check.seconds < CHECK_SECONDS_GOAL),
                mib(check.peak_mib),
            ),
            (
                "`edgewright --help`",
                seconds(shown.seconds),
                "–",
                "–",
                f"under {HELP_SECONDS_GOAL:g} s",
                met(shown.seconds < HELP_SECONDS_GOAL),
                mib(shown.peak_mib),
            ),
        ],
    )
    yield ""
    cpu = plan.cpu_seconds / dvc.cpu_seconds
    yield "`plan` and `dvc status` ran in turns."
    yield f"In processor time: {seconds(plan.cpu_seconds)} against {seconds(dvc.cpu_seconds)}, ratio {cpu:.2f}."
    yield f"Shortest runs: {seconds(plan.best)} against {seconds(dvc.best)}, ratio {plan.best / dvc.best:.2f}."


def _growth(devices: int, sizes: Sequence[Size]) -> Iterator[str]:
    yield ""
    yield f"Nothing to do, {devices:,} devices. The first plan has no cache: it reads and checks every spec and"
    yield "inventory."
    yield ""
    yield from table(
        ("resources", "`plan`", "peak memory", "first `plan`", "peak memory", "`status`", "`validate` (work tree)"),
        [
            (
                f"{size.resources:,}",
                seconds(size.plan.seconds),
                mib(size.plan.peak_mib),
                seconds(size.first.seconds),
                mib(size.first.peak_mib),
                seconds(size.status.seconds),
                seconds(size.validate.seconds),
            )
            for size in sizes
        ],
    )
    yield ""
    yield "Inside the standing controller, from being woken until every resource is judged, medians:"
    yield ""
    yield from table(
        (
            "resources",
            "pass, nothing to do",
            "thresholds changed",
            "looking for drift",
            "until training starts",
            "first",
        ),
        [
            (
                f"{size.resources:,}",
                seconds(size.passes.unchanged.median),
                seconds(size.passes.changed.median),
                seconds(size.passes.looked.median),
                seconds(size.passes.started),
                seconds(size.passes.first),
            )
            for size in sizes
        ],
    )


def _dataset(found: Goals) -> Iterator[str]:
    check = found.dataset
    yield from heading("Dataset check")
    yield f"{dataset_check.FILES:,} files outside Git; the time of the check alone, the memory of its process."
    yield ""
    yield from table(
        ("look", "time", "peak memory"),
        [
            ("first", seconds(check.first.seconds), mib(check.first.peak_mib)),
            ("nothing changed", seconds(check.unchanged.seconds), mib(check.unchanged.peak_mib)),
            ("one file changed", seconds(check.one_changed.seconds), mib(check.one_changed.peak_mib)),
        ],
    )


def measured_on(part: str, machine: Mapping[str, str]) -> Iterator[str]:
    """Say where and how a part was measured."""
    yield from heading("Measured on")
    yield from machine_table(machine)
    yield from heading("Measure again")
    yield f"`make bench`, or this page alone: `python -m benchmarks {part}`. It works in temporary folders, and applies"
    yield "what it then plans, which takes minutes. A busy machine gives larger figures: look at the load before."


def machine_table(machine: Mapping[str, str]) -> Iterator[str]:
    """Say where and when something was measured."""
    yield from table(("", ""), {**machine, "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}.items())


def heading(text: str) -> Iterator[str]:
    """Begin a section."""
    yield from ("", f"## {text}", "")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Write a table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def seconds(value: float) -> str:
    """Write a time."""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def mib(value: float) -> str:
    """Write memory."""
    return f"{value:.0f} MiB"


def met(is_met: bool) -> str:
    """Say whether a goal is met, so that a missed one is seen."""
    return "yes" if is_met else "**no**"
