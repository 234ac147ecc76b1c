"""``edgewright history``: what happened, newest first."""

from pathlib import Path
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import Output, OutputOption, RepoOption, StateOption
from edgewright.cli.render.quantities import short
from edgewright.cli.workspace import Workspace


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
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("WHEN (UTC)", "COMMIT", "WHAT", "WHERE", "MESSAGE"):
        table.add_column(heading, no_wrap=heading != "MESSAGE")
    for event in events:
        when = f"{event.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(when, short(event.revision)[:7], event.reason, event.address, event.message)
    console = stdout()
    console.print(table if events else "nothing has happened yet")
