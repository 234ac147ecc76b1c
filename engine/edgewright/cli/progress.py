"""Progress of a run: a live picture on a terminal, plain lines when piped. Both write to stderr."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.facts import DatasetFacts, EvaluationFacts
from edgewright.core.planning.plan import Step, action_of, step_id
from edgewright.core.rollout.state import PROVED, DeviceState, RolloutState, summarize
from edgewright.errors import EdgewrightError
from edgewright.ports import Event, Progress
from edgewright.render.quantities import seconds_text
from edgewright.render.results_words import dataset_line, evidence_line
from edgewright.services.runs import Listener, NullListener

_BARS = "▁▂▃▄▅▆▇█"
_LONG_WAITS = ("RolloutWaiting", "AwaitingApproval")
_CURVE = 24
"""Points of a training curve that are shown."""


@contextmanager
def listener_for(console: Console) -> Iterator[Listener]:
    """Choose a live picture or plain lines by where the console goes."""
    if not console.is_terminal:
        yield PlainListener(console)
        return
    live = LiveListener(console)
    with Live(console=console, get_renderable=live.picture, refresh_per_second=6, transient=True):
        yield live


def spark(values: list[float]) -> str:
    """Draw a curve in one line, lowest to highest value."""
    shown = values[-_CURVE:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in shown)


def figures_text(progress: Progress) -> str:
    """Write a progress' figures: ``loss 0.21  accuracy 0.956``."""
    return "  ".join(f"{name} {value:.4g}" for name, value in progress.figures.items())


def rollout_text(state: RolloutState) -> str:
    """Write a rollout's status: ``rolling, wave 2: 3 verified, 1 fetching``."""
    summary = summarize(state)
    counts = ", ".join(f"{summary.counts[s]} {s.value}" for s in DeviceState if summary.counts.get(s))
    wave = f", wave {state.wave + 1}" if state.phase.value in {"rolling", "soaking", "waiting"} else ""
    return f"{state.phase.value}{wave}: {counts or 'no devices'}"


def found_text(artifact: Artifact) -> list[str]:
    """Write what a step found: a dataset's rows and classes, with what people must see of them, or figures."""
    facts = artifact.facts
    if isinstance(facts, DatasetFacts):
        return [dataset_line(facts), *(f"! {notice}" for notice in facts.notices or ())]
    return [evidence_line(facts.variants)] if isinstance(facts, EvaluationFacts) else []


def event_text(event: Event) -> str:
    """Write an event; where the run may wait for long, with what may be done meanwhile."""
    then = " (Ctrl-C ends this run; the next apply goes on)" if event.reason in _LONG_WAITS else ""
    return f"{event.address}: {event.reason}: {event.message}{then}"


def _again_text(seconds: float | None) -> str:
    """Write when a failed step is tried again."""
    if seconds is None:
        return ""
    return f" (trying again in {seconds_text(seconds)})" if seconds >= 0.05 else " (trying again)"


def _failure_text(error: EdgewrightError, retry_in: float | None) -> str:
    """Write why a step failed: in one line where it is final, since the outcome of the run says all of it."""
    if retry_in is not None:
        return f"{error.message}{_again_text(retry_in)}"
    first, _, more = error.message.partition("\n")
    return first.removesuffix(":") if more else first


class PlainListener(NullListener):
    """Writes a line for what matters: steps, epochs, changes of rollouts and their reasons."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._printed: dict[Address, str] = {}

    def _print(self, text: str) -> None:
        with self._lock:
            self._console.print(text)

    def started(self, step: Step) -> None:
        """Write that a step began."""
        self._print(f"{step_id(step)}: started")

    def progressed(self, progress: Progress) -> None:
        """Write epochs; rows and samples pass too quickly to read."""
        if progress.unit == "epoch":
            what = f"{progress.action} {progress.address}: epoch {progress.done}/{progress.total}"
            self._print(f"{what}  {figures_text(progress)}")

    def done(self, step: Step, seconds: float) -> None:
        """Write that a step succeeded, and its duration."""
        self._print(f"{step_id(step)}: done in {seconds_text(seconds)}")

    def made(self, artifact: Artifact) -> None:
        """Write what was found."""
        for line in found_text(artifact):
            self._print(f"{artifact.address}: {line}")

    def failed(self, step: Step, error: EdgewrightError, retry_in: float | None) -> None:
        """Write why a step failed, and whether it is tried again."""
        self._print(f"{step_id(step)}: failed: {_failure_text(error, retry_in)}")

    def rollout_changed(self, address: Address, state: RolloutState) -> None:
        """Write the status of a rollout, once."""
        text = rollout_text(state)
        if self._printed.get(address) != text:
            self._printed[address] = text
            self._print(f"{address}: {text}")

    def happened(self, event: Event) -> None:
        """Write events of devices and waves."""
        if not event.reason.startswith("Step"):
            self._print(event_text(event))


@dataclass
class _Task:
    step: Step
    began: float = field(default_factory=time.monotonic)
    progress: Progress | None = None
    curve: list[float] = field(default_factory=list)


class LiveListener(NullListener):
    """Keeps a picture of what is running: training curves, bars, waves filling."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._tasks: dict[str, _Task] = {}
        self._rollouts: dict[Address, RolloutState] = {}

    def started(self, step: Step) -> None:
        """Show it."""
        with self._lock:
            self._tasks[step_id(step)] = _Task(step)

    def progressed(self, progress: Progress) -> None:
        """Move its bar, and its curve."""
        with self._lock:
            for task in self._tasks.values():
                if task.step.address == progress.address and action_of(task.step) == progress.action:
                    task.progress = progress
                    loss = progress.figures.get("valLoss", progress.figures.get("loss"))
                    if loss is not None:
                        task.curve.append(loss)

    def done(self, step: Step, seconds: float) -> None:
        """Leave a line above the picture."""
        with self._lock:
            self._tasks.pop(step_id(step), None)
        self._console.print(Text.assemble(("✓", "green"), f" {step_id(step)}  ", (seconds_text(seconds), "dim")))

    def made(self, artifact: Artifact) -> None:
        """Leave what was found above the picture."""
        for line in found_text(artifact):
            self._console.print(Text(f"  {artifact.address}: {line}", style="dim"))

    def failed(self, step: Step, error: EdgewrightError, retry_in: float | None) -> None:
        """Leave a line above the picture."""
        with self._lock:
            self._tasks.pop(step_id(step), None)
        self._console.print(Text.assemble(("✗", "red"), f" {step_id(step)}: {_failure_text(error, retry_in)}"))

    def rollout_changed(self, address: Address, state: RolloutState) -> None:
        """Redraw its waves."""
        with self._lock:
            self._rollouts[address] = state

    def happened(self, event: Event) -> None:
        """Leave a line above the picture for what happened to devices and waves."""
        if not event.reason.startswith("Step"):
            self._console.print(Text(f"  {event_text(event)}", style="dim"))

    def picture(self) -> RenderableType:
        """Draw what is running now."""
        with self._lock:
            return Group(self._draw_tasks(), *(_draw_rollout(a, s) for a, s in self._rollouts.items()))

    def _draw_tasks(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, task in self._tasks.items():
            progress = task.progress
            bar: RenderableType = ""
            figures = seconds_text(time.monotonic() - task.began)
            if progress and progress.total:
                bar = ProgressBar(total=progress.total, completed=progress.done, width=24)
                figures = f"{progress.unit} {progress.done}/{progress.total}  {figures_text(progress)}"
            table.add_row(Text(name, style="bold"), bar, figures, Text(spark(task.curve), style="cyan"))
        return table


_COLOURS = {
    DeviceState.VERIFIED: "green",
    DeviceState.INSTALLED: "dark_green",
    DeviceState.FAILED: "red",
    DeviceState.ROLLED_BACK: "red",
    DeviceState.PENDING: "bright_black",
    DeviceState.DEFERRED: "magenta",
}
_CELLS = 60


def _draw_rollout(address: Address, state: RolloutState) -> RenderableType:
    """Draw one mark for each device (or each share of a large fleet), wave by wave."""
    table = Table.grid(padding=(0, 2))
    table.add_row(Text(str(address), style="bold"), Text(rollout_text(state)))
    waves: dict[int, list[DeviceState]] = {}
    for progress in state.devices.values():
        waves.setdefault(progress.wave, []).append(progress.state)
    order = list(DeviceState)
    for number in sorted(waves):
        states = sorted(waves[number], key=lambda s: (s not in PROVED, order.index(s)))
        step = max(1, len(states) // _CELLS)
        marks = Text()
        for state_ in states[::step]:
            marks.append("■" if state_ is not DeviceState.PENDING else "□", style=_COLOURS.get(state_, "yellow"))
        table.add_row(Text(f"  wave {number + 1}", style="dim"), marks)
    return table
