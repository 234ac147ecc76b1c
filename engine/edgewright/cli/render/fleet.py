"""How every device stands, whatever update system reaches it, in one table. Called by ``status --devices``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from edgewright.cli.render.quantities import short
from edgewright.cli.render.standing import age_text
from edgewright.cli.render.table import print_table
from edgewright.core.fleet.routes import Route
from edgewright.core.rollout.devices import NEVER_SEEN, OFFLINE
from edgewright.core.rollout.state import DeviceProgress, DeviceState, RolloutState
from edgewright_wire.messages import ModelReport, Report

_COLOURS = {
    DeviceState.VERIFIED: "green",
    DeviceState.INSTALLED: "dark_green",
    DeviceState.FAILED: "red",
    DeviceState.ROLLED_BACK: "red",
    DeviceState.DEFERRED: "magenta",
}


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device in one rollout."""

    device: str
    fleet: str
    system: str
    proof: str
    """The most its class can show."""
    rollout: str
    """Empty for a device that no rollout has."""
    progress: DeviceProgress | None
    runs: str | None
    """Digest of the package it says is active."""
    shown: str
    """What has been shown of that: ``verified``, ``installed`` or nothing."""
    last_seen: datetime | None
    reason: str
    """Why it is not where it should be, in its own words where it has any."""


def device_standings(
    routes: Mapping[str, Route],
    rollouts: Mapping[str, tuple[str, RolloutState]],
    reports: Mapping[str, Report],
    troubles: Mapping[str, str],
) -> list[DeviceStatus]:
    """Put together what is known of every device.

    Args:
        routes: The way to each device.
        rollouts: Model and state of each rollout, by name.
        reports: The newest report of each device.
        troubles: Why devices cannot be worked with, where that is known.
    """
    found: list[DeviceStatus] = []
    for device, route in routes.items():
        report = reports.get(device)
        its: list[tuple[str, str, DeviceProgress | None]] = [
            (name, model, state.devices[device]) for name, (model, state) in rollouts.items() if device in state.devices
        ]
        for name, model, progress in its or [("", "", None)]:
            said = report.model(model) if report is not None and model else None
            found.append(
                DeviceStatus(
                    device=device,
                    fleet=route.fleet,
                    system=route.delivery.type,
                    proof=route.proof.value,
                    rollout=name,
                    progress=progress,
                    runs=said.active if said else None,
                    shown=_shown(said),
                    last_seen=report.sent_at if report else None,
                    reason=_reason(progress, said, report, troubles.get(device, "")),
                )
            )
    return sorted(
        found, key=lambda one: (one.rollout, one.progress.wave if one.progress else 0, one.system, one.device)
    )


def _shown(said: ModelReport | None) -> str:
    if said is None or said.active is None:
        return ""
    return "verified" if said.verified == said.active else "installed"


def _reason(progress: DeviceProgress | None, said: ModelReport | None, report: Report | None, trouble: str) -> str:
    if trouble and (progress is None or progress.reason in {"", OFFLINE, NEVER_SEEN}):
        return trouble  # it says why nothing was heard
    pairs = [(one.reason, one.message) for one in (progress, said, report) if one is not None and one.reason]
    return ": ".join(part for part in pairs[0] if part) if pairs else ""


def devices_json(standings: Iterable[DeviceStatus]) -> list[dict[str, Any]]:
    """Turn them into JSON values."""
    return [
        {
            "device": one.device,
            "fleet": one.fleet,
            "system": one.system,
            "canShow": one.proof,
            "rollout": one.rollout or None,
            "wave": one.progress.wave + 1 if one.progress else None,
            "state": one.progress.state.value if one.progress else None,
            "runs": one.runs,
            "shown": one.shown or None,
            "lastSeen": one.last_seen.isoformat() if one.last_seen else None,
            "reason": one.reason,
        }
        for one in standings
    ]


def print_devices(console: Console, standings: Sequence[DeviceStatus], now: datetime) -> None:
    """Print the table."""
    if not standings:
        console.print("no devices")
        return
    rows: list[tuple[str | Text, ...]] = []
    for one in standings:
        state = one.progress.state if one.progress else None
        rows.append(
            (
                one.rollout or "-",
                str(one.progress.wave + 1) if one.progress and one.progress.wave >= 0 else "-",
                one.device,
                one.system,
                one.proof,
                Text(state.value, style=_COLOURS.get(state, "yellow")) if state else "-",
                short(one.runs) if one.runs else "nothing",
                one.shown or "-",
                age_text(now - one.last_seen) if one.last_seen else "never",
                one.reason,
            )
        )
    headings = ("ROLLOUT", "WAVE", "DEVICE", "SYSTEM", "CAN SHOW", "STATE", "RUNS", "SHOWN", "SEEN", "WHY")
    print_table(console, headings, rows, whole={*headings} - {"WHY"})
