"""``edgewright history``: what happened, newest first."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.core.status.notifications import severity_of
from edgewright.errors import EdgewrightError
from edgewright.ports import Event
from edgewright.render.quantities import short
from edgewright.services.history import find_events
from edgewright_schemas.base import parse_duration

_COLOURS = {"error": "red", "warning": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("history", epilog="Example: edgewright history rollout/price-tag-reader --limit 20")(history)


def history(
    address: Annotated[str | None, typer.Argument(help="Only this resource, like model/price-tag-reader.")] = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only resources of this kind; repeatable.")] = None,
    reason: Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; repeatable.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Not before: 2h, 7d, or 2026-03-01 (UTC).")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many entries.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what was built, judged, rolled out and returned, newest first."""
    workspace = open_workspace(repo, state=state, env=env)
    start = _moment(since, workspace.clock()) if since is not None else None
    events = find_events(
        workspace,
        address=address,
        kinds={one.lower() for one in kind or ()},
        reasons=set(reason or ()),
        since=start,
        limit=limit,
    )
    if output is Output.JSON:
        from edgewright.render.status_json import event_json

        print_json([event_json(event) for event in events])
        return
    _print(events, is_filtered=bool(kind or reason or start))


def _moment(text: str, now: datetime) -> datetime:
    """Read ``--since``.

    Raises:
        EdgewrightError: It is neither a duration nor a date.
    """
    try:
        duration = parse_duration(text)
        return now - duration if isinstance(duration, timedelta) else now
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "write a duration like 2h or 7d, or a date like 2026-03-01T12:00"
        raise EdgewrightError(f"--since {text!r} is neither a duration nor a date", hint=hint) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _print(events: Sequence[Event], *, is_filtered: bool) -> None:
    from rich.text import Text

    from edgewright.cli.render.table import print_table

    console = stdout()
    if not events:
        console.print("nothing like that has happened" if is_filtered else "nothing has happened yet")
        return
    rows = [
        (
            f"{event.at:%Y-%m-%d %H:%M:%S}",
            short(event.revision)[:7],
            Text(event.reason, style=_COLOURS.get(severity_of(event), "")),
            event.address,
            event.message,
        )
        for event in events
    ]
    headings = ("WHEN (UTC)", "COMMIT", "WHAT", "WHERE", "MESSAGE")
    print_table(console, headings, rows, whole={"COMMIT", "WHAT", "WHERE"})
