"""Tables of devices, whatever update system reaches them. Called by ``devices list`` and ``status --devices``."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from rich.console import Console
from rich.text import Text

from edgewright.cli.render.status import age_text
from edgewright.cli.render.table import print_table
from edgewright.core.rollout.state import DeviceState
from edgewright.core.status.devices import DeviceModel, DeviceRollout, DeviceStatus
from edgewright.render.quantities import short

_COLOURS = {
    DeviceState.VERIFIED: "green",
    DeviceState.INSTALLED: "dark_green",
    DeviceState.FAILED: "red",
    DeviceState.ROLLED_BACK: "red",
    DeviceState.DEFERRED: "magenta",
}

Row = tuple[str | Text, ...]


def print_devices(console: Console, devices: Iterable[DeviceStatus]) -> None:
    """Print a line for each model of each device."""
    rows = [row for device in devices for row in _model_rows(device)]
    if not rows:
        console.print("no devices")
        return
    headings = (
        "DEVICE",
        "FLEET",
        "LABELS",
        "SYSTEM",
        "PROOF",
        "LAST SEEN (UTC)",
        "MODEL",
        "ASSIGNED",
        "ACTIVE",
        "VERIFIED",
        "PHASE",
    )
    print_table(console, headings, rows, whole={"DEVICE", "FLEET", "MODEL"})


def _model_rows(device: DeviceStatus) -> Iterator[Row]:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(device.labels.items()))
    seen = f"{device.last_seen:%Y-%m-%d %H:%M:%S}" if device.last_seen else "never"
    common = (device.device, device.fleet or "-", labels, device.system or "-", device.proof or "-", seen)
    for model in device.models:
        yield (*common, *_model_cells(model))
    if not device.models:
        yield (*common, "", "", "", "", "")


def _model_cells(model: DeviceModel) -> Row:
    report = model.report
    digests = (model.assigned, report.active if report else None, report.verified if report else None)
    phase = " ".join(part for part in (report.phase.value, report.reason) if part) if report else "silent"
    return (model.model, *(short(digest) if digest else "-" for digest in digests), phase)


def print_rollout_devices(console: Console, devices: Iterable[DeviceStatus], now: datetime) -> None:
    """Print a line for each device of each rollout, in order of rollout, wave, update system and device."""
    found = [
        (_order(device, rollout), _rollout_row(device, rollout, now))
        for device in devices
        for rollout in (device.rollouts or (None,))
    ]
    if not found:
        console.print("no devices")
        return
    rows = [row for _, row in sorted(found, key=lambda pair: pair[0])]
    headings = ("ROLLOUT", "WAVE", "DEVICE", "SYSTEM", "PROOF", "STATE", "ACTIVE", "SHOWN", "SEEN", "WHY")
    print_table(console, headings, rows, whole={*headings} - {"WHY"})


def _order(device: DeviceStatus, its: DeviceRollout | None) -> tuple[str, int, str, str]:
    return (its.rollout if its else "", its.progress.wave if its else 0, device.system or "", device.device)


def _rollout_row(device: DeviceStatus, its: DeviceRollout | None, now: datetime) -> Row:
    state = its.progress.state if its else None
    report = its.model.report if its else None
    return (
        its.rollout if its else "-",
        str(its.progress.wave + 1) if its and its.progress.wave >= 0 else "-",
        device.device,
        device.system or "-",
        device.proof or "-",
        Text(state.value, style=_COLOURS.get(state, "yellow")) if state else "-",
        short(report.active) if report and report.active else "nothing",
        (its.model.shown if its else "") or "-",
        age_text(now - device.last_seen) if device.last_seen else "never",
        (its.reason if its else device.reason) or device.skew,
    )
