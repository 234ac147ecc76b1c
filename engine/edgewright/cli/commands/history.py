"""``edgewright history``: what happened, newest first."""

from collections.abc import Sequence
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.render.quantities import short
from edgewright.cli.workspace import Workspace
from edgewright.core.nearest import suggestion
from edgewright.errors import EdgewrightError
from edgewright.ports import Event


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("history", epilog="Example: edgewright history rollout/price-tag-reader --limit 20")(history)


def history(
    address: Annotated[str | None, typer.Argument(help="Only this resource, like model/price-tag-reader.")] = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many entries.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what was built, judged, rolled out and returned, newest first."""
    workspace = Workspace(repo, state=state, env=env)
    events = workspace.state.events(limit=limit, address=address)
    if address is not None and not events:
        _check_known(workspace, address)
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


def _check_known(workspace: Workspace, address: str) -> None:
    """Refuse a resource that nothing has happened to when there is no such resource.

    Raises:
        EdgewrightError: It is neither declared nor was it ever applied; or what is declared cannot be read.
    """
    known = {str(one) for one in (*workspace.source.snapshot().resources, *workspace.state.inventory())}
    if address not in known:
        hint = suggestion(address, known)
        raise EdgewrightError(f"{address} is not declared, and nothing ever happened to it", hint=hint)


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
