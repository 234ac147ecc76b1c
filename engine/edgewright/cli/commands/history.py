"""``edgewright history``: what happened, newest first."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.render.quantities import short
from edgewright.cli.workspaces import open_workspace
from edgewright.core.status.notifications import severity_of
from edgewright.core.status.reasons import REASONS
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError
from edgewright.ports import Event
from edgewright.wiring.workspace import Workspace
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
    kinds, reasons = {one.lower() for one in kind or ()}, set(reason or ())
    start = _moment(since, workspace.clock()) if since is not None else None

    def is_wanted(event: Event) -> bool:
        return (not kinds or event.address.partition("/")[0] in kinds) and (not reasons or event.reason in reasons)

    events = _find(workspace, address, limit, start, is_wanted)
    if not events:
        _check_reasons(reasons)
        if address is not None:
            _check_known(workspace, address)
    if output is Output.JSON:
        print_json(
            [
                {
                    "at": event.at.isoformat(),
                    "severity": severity_of(event),
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
    _print(events, is_filtered=bool(kinds or reasons or start))


def _find(
    workspace: Workspace, address: str | None, limit: int, start: datetime | None, is_wanted: Callable[[Event], bool]
) -> list[Event]:
    """Read further and further back, until there are enough or no more."""
    count = limit
    while True:
        read = workspace.state.events(limit=count, address=address)
        recent = [event for event in read if start is None or event.at >= start]
        found = [event for event in recent if is_wanted(event)]
        if len(found) >= limit or len(read) < count or len(recent) < len(read):
            return found[:limit]
        count *= 4


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
        raise EdgewrightError(f"--since {text!r} is no time", hint=hint) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _check_reasons(reasons: Collection[str]) -> None:
    """Refuse a reason that nothing ever has.

    Raises:
        EdgewrightError: There is no such reason.
    """
    for reason in sorted(reasons):
        if reason not in REASONS:
            raise EdgewrightError(f"there is no reason {reason!r}", hint=suggestion(reason, REASONS))


def _check_known(workspace: Workspace, address: str) -> None:
    """Refuse a resource that nothing has happened to when there is no such resource.

    Raises:
        EdgewrightError: It is neither declared nor was it ever applied; or what is declared cannot be read.
    """
    known = {str(one) for one in (*workspace.source.snapshot().resources, *workspace.state.inventory())}
    if address not in known:
        hint = suggestion(address, known)
        raise EdgewrightError(f"{address} is not declared, and nothing ever happened to it", hint=hint)


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
