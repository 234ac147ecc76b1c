"""The table of resources with their conditions. Called by ``status``."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from rich.console import Console
from rich.text import Text

from edgewright.cli.render.table import print_table
from edgewright.core.rollout.state import DeviceState, RolloutSummary
from edgewright.core.status.conditions import Condition, headline
from edgewright.core.status.environments import ResourceStatus
from edgewright.render.results_words import results_line

_COLOURS = {"Ready": "green", "Stalled": "red"}
_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


def age_text(age: timedelta) -> str:
    """Write an age in one unit: ``45s``, ``12m``, ``3h``, ``5d``."""
    seconds = max(0, int(age.total_seconds()))
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds >= 2 * size), f"{seconds}s")


def print_resources(console: Console, resources: Iterable[ResourceStatus], now: datetime) -> None:
    """Print a table; with the age of each status, where that is known of any."""
    lines = []
    for resource in resources:
        shown = headline(resource.conditions) or resource.conditions[0]
        name = shown.type if shown.status == "True" else f"Not{shown.type}"
        since = age_text(now - shown.since) if shown.since else ""
        status = Text(name, style=_COLOURS.get(shown.type, "yellow"))
        lines.append(
            (resource.address, status, since, shown.reason, _devices(resource.rollout), _message(resource, shown))
        )
    headings = ["RESOURCE", "STATUS", "FOR", "REASON", "DEVICES", "MESSAGE"]
    rows: list[tuple[str | Text, ...]] = list(lines)
    if not any(line[2] for line in lines):
        headings.remove("FOR")
        rows = [(*line[:2], *line[3:]) for line in lines]
    print_table(console, headings, rows, whole={"RESOURCE", "STATUS", "FOR", "REASON"})


def _message(resource: ResourceStatus, shown: Condition) -> str:
    """Return the message of a resource; where there is none, its results."""
    return shown.message or (results_line(resource.results) if resource.results is not None else "")


def _devices(rollout: RolloutSummary | None) -> str:
    counts = {state: count for state, count in rollout.counts.items() if count} if rollout else {}
    if not counts:
        return ""
    rest = [f"{count} {state.value}" for state, count in counts.items() if state is not DeviceState.VERIFIED]
    verified = counts.get(DeviceState.VERIFIED, 0)
    return f"{verified}/{sum(counts.values())} verified" + (f" ({', '.join(rest)})" if rest else "")
