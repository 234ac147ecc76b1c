"""``edgewright history``: what happened, newest first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import Output, OutputOption, RepoOption, StateOption
from edgewright.cli.render.quantities import short
from edgewright.cli.workspace import Workspace
from edgewright.ports import Event


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("history", epilog="Example: edgewright history rollout/price-tag-reader --limit 20")(history)


def history(
    address: Annotated[str | None, typer.Argument(help="Only this resource, like model/price-tag-reader.")] = None,
    repo: RepoOption = Path(),
    state: StateOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many entries.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what was built, judged, rolled out and returned, newest first."""
    events = Workspace(repo, state=state).state.events(limit=limit, address=address)
    if output is Output.JSON:
        print_json(
            [
                {
                    "at": event.at.isoformat(),
                    "reason": event.reason,
                    "address": event.address,
                    "message": event.message,
                    "revision": event.revision,
                    "data": dict(event.data),
                }
                for event in events
            ]
        )
        return
    _print(events)


def _print(events: Sequence[Event]) -> None:
    from edgewright.cli.render.table import print_table

    console = stdout()
    if not events:
        console.print("nothing has happened yet")
        return
    rows = [
        (f"{event.at:%Y-%m-%d %H:%M:%S}", short(event.revision)[:7], event.reason, event.address, event.message)
        for event in events
    ]
    headings = ("WHEN (UTC)", "COMMIT", "WHAT", "WHERE", "MESSAGE")
    print_table(console, headings, rows, whole={"COMMIT", "WHAT", "WHERE"})
