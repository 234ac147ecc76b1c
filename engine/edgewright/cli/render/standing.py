"""How resources stand, in words and in JSON. Called by ``status``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.text import Text

from edgewright.cli.render.table import print_table
from edgewright.core.rollout.state import DeviceState
from edgewright.core.status.conditions import Condition, headline

_COLOURS = {"Ready": "green", "Stalled": "red"}
_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


@dataclass(frozen=True, slots=True)
class RepositoryStatus:
    """One line of ``status``."""

    address: str
    conditions: Sequence[Condition]
    """Their ``since`` is None where it is not known."""
    devices: Mapping[str, int]
    """How many are in each state."""


def age_text(age: timedelta) -> str:
    """Write how long ago, in one unit: ``45s``, ``12m``, ``3h``, ``5d``."""
    seconds = max(0, int(age.total_seconds()))
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds >= 2 * size), f"{seconds}s")


def standing_json(standing: RepositoryStatus) -> dict[str, Any]:
    """Turn a line into JSON values."""
    return {
        "address": standing.address,
        "conditions": [_condition(condition) for condition in standing.conditions],
        "devices": dict(standing.devices),
    }


def _condition(condition: Condition) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "observedRevision": condition.observed_revision,
        "lastTransition": condition.since.isoformat() if condition.since else None,
    }


def print_standings(console: Console, standings: Iterable[RepositoryStatus], now: datetime) -> None:
    """Print a table; with how long each stands so, where that is known of any."""
    lines = []
    for standing in standings:
        shown = headline(standing.conditions) or standing.conditions[0]
        name = shown.type if shown.status == "True" else f"Not{shown.type}"
        since = age_text(now - shown.since) if shown.since else ""
        status = Text(name, style=_COLOURS.get(shown.type, "yellow"))
        lines.append((standing.address, status, since, shown.reason, _devices(standing.devices), shown.message))
    headings = ["RESOURCE", "STATUS", "FOR", "REASON", "DEVICES", "MESSAGE"]
    rows: list[tuple[str | Text, ...]] = list(lines)
    if not any(line[2] for line in lines):
        headings.remove("FOR")
        rows = [(*line[:2], *line[3:]) for line in lines]
    print_table(console, headings, rows, whole={"RESOURCE", "STATUS", "FOR", "REASON"})


def _devices(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    verified = DeviceState.VERIFIED.value
    rest = [f"{n} {state}" for state, n in counts.items() if state != verified]
    return f"{counts.get(verified, 0)}/{sum(counts.values())} verified" + (f" ({', '.join(rest)})" if rest else "")
