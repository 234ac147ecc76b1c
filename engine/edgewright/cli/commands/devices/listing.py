"""``edgewright devices list``: which devices there are, how each is reached, and what it runs."""

from typing import Annotated, Any

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.render.quantities import short
from edgewright.cli.workspaces import open_workspace
from edgewright.core.fleet.membership import members
from edgewright.core.fleet.routes import Route, find_routes
from edgewright.core.snapshot import Snapshot
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError
from edgewright.ports import DeviceAssignment
from edgewright_schemas.fleet import Fleet
from edgewright_wire.messages import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list", epilog="Example: edgewright devices list --fleet stores -o json")(list_devices)


def list_devices(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    fleet: Annotated[str | None, typer.Option("--fleet", help="Only this fleet's devices.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List devices with their labels, how they are reached, what they are assigned and what they say they run.

    PROOF is the most a device is asked to show: that its golden samples ran (verified), or that its update system says
    that a release is in place (installed).
    Devices that report but are in no fleet are listed as well, with ``-`` as their fleet.
    """
    from edgewright.services.device_troubles import find_troubles

    workspace = open_workspace(repo, ref=ref, state=state, env=env)
    desired = workspace.source.snapshot()
    store = workspace.state
    reports = dict(store.reports())
    for report in workspace.delivery(desired).observe({id_: r.sequence for id_, r in reports.items()}):
        reports[report.device] = report
    assignments = store.assignments()
    enrolled = store.enrolled()
    fleets = _fleets(desired, enrolled)
    if fleet is not None and fleet not in fleets:
        raise EdgewrightError(f"there is no fleet/{fleet}", hint=suggestion(fleet, filter(None, fleets)))
    # A device of no fleet is shown as well: most likely its id is written differently in an inventory.
    counted = {device for devices in fleets.values() for device in devices}
    fleets[None] = {device: enrolled.get(device, {}) for device in sorted(reports.keys() - counted)}
    routes, troubles = find_routes(desired, enrolled), find_troubles(store)
    rows = [
        _row(device, name, labels, routes.get(device), assignments.get(device), reports.get(device))
        | {"trouble": troubles.get(device, "")}
        for name, devices in fleets.items()
        if fleet is None or fleet == name
        for device, labels in devices.items()
    ]
    if output is Output.JSON:
        print_json(rows)
        return
    _print(rows)


def _fleets(desired: Snapshot, enrolled: Any) -> dict[str | None, Any]:
    documents = (resource.document for resource in desired.resources.values())
    return {d.metadata.name: members(desired, d, enrolled) for d in documents if isinstance(d, Fleet)}


def _row(
    device: str,
    fleet: str | None,
    labels: Any,
    route: Route | None,
    assigned: DeviceAssignment | None,
    report: Report | None,
) -> dict[str, Any]:
    said = {m.model: m for m in report.models} if report else {}
    wanted = {m.model: m for m in assigned.assignment.models} if assigned else {}
    return {
        "device": device,
        "fleet": fleet,
        "labels": dict(labels),
        "system": route.delivery.type if route else None,
        "proof": route.proof.value if route else None,
        "lastSeen": report.sent_at.isoformat() if report else None,
        "assignmentVersion": assigned.assignment.version if assigned else 0,
        "models": [
            {
                "model": name,
                "assigned": wanted[name].package.digest if name in wanted else None,
                "installed": said[name].installed if name in said else None,
                "active": said[name].active if name in said else None,
                "verified": said[name].verified if name in said else None,
                "phase": said[name].phase.value if name in said else None,
                "reason": said[name].reason if name in said else "",
                "message": said[name].message if name in said else "",
            }
            for name in sorted(wanted.keys() | said.keys())
        ],
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from edgewright.cli.render.table import print_table

    if not rows:
        stdout().print("no devices")
        return
    lines = []
    for row in rows:
        labels = ", ".join(f"{key}={value}" for key, value in sorted(row["labels"].items()))
        seen = row["lastSeen"][:19].replace("T", " ") if row["lastSeen"] else "never"
        for model in row["models"] or [None]:
            cells = ["", "", "", "", ""]
            if model is not None:
                digests = [short(model[key]) if model[key] else "-" for key in ("assigned", "active", "verified")]
                standing = " ".join(part for part in (model["phase"] or "silent", model["reason"]) if part)
                cells = [model["model"], *digests, standing]
            way = (row["system"] or "-", row["proof"] or "-")
            lines.append((row["device"], row["fleet"] or "-", labels, *way, seen, *cells))
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
        "STATE",
    )
    print_table(stdout(), headings, lines, whole={"DEVICE", "FLEET", "MODEL"})
