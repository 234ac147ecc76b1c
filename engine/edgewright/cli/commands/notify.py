"""``edgewright notify``: see whether receivers of notifications can be told."""

import secrets
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Exit, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.core.status.notifications import Notification
from edgewright.core.status.source import repository_address
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError, NotificationError, NotificationUnavailable
from edgewright_schemas.notifications import NotificationReceiver

app = typer.Typer(help="Receivers of notifications, and whether they can be told.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="notify")


@app.callback()
def _notify() -> None:
    pass


@app.command("test", epilog="Example: edgewright notify test ops")
def test_receivers(
    name: Annotated[str | None, typer.Argument(help="Only this receiver.", show_default="all of them")] = None,
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send a test notice to the receivers that edgewright.yaml declares, and say how it went.

    Their limits and filters do not count, and history is left alone. Ends with 1 if any could not be told.
    """
    from edgewright.reconcile.accepted import follow_of

    workspace = open_workspace(repo, ref=ref, state=state, env=env)
    revision = workspace.source.revision()
    repository = workspace.upstream.declared(revision)
    if workspace.env:
        follow_of(repository, workspace.env)
    chosen = _choose(repository.spec.notifications if repository else (), name)
    notice = Notification(
        at=workspace.clock(),
        severity="info",
        reason="Test",
        address=str(repository_address(repository.metadata.name if repository else "")),
        message="This is a test: notifications of edgewright arrive here.",
        environment=workspace.env,
        revision=revision,
        id=secrets.token_hex(16),
    )
    problems = {spec.name: _send(spec, notice) for spec in chosen}
    if output is Output.JSON:
        print_json(
            [
                {"receiver": receiver, "sent": problem is None, "problem": str(problem) if problem else None}
                for receiver, problem in problems.items()
            ]
        )
    else:
        for receiver, problem in problems.items():
            stdout().print(f"{receiver}: sent" if problem is None else f"{receiver}: not sent: {problem}")
    raise typer.Exit(Exit.ERROR if any(problems.values()) else Exit.OK)


def _choose(declared: tuple[NotificationReceiver, ...], name: str | None) -> list[NotificationReceiver]:
    """Pick the receivers.

    Raises:
        EdgewrightError: None is declared, or none of this name.
    """
    if not declared:
        raise EdgewrightError("no receivers of notifications are declared", hint="see docs/how-to/notifications.md")
    chosen = [spec for spec in declared if name in {None, spec.name}]
    if not chosen:
        hint = suggestion(name or "", [spec.name for spec in declared])
        raise EdgewrightError(f"there is no receiver {name!r}", hint=hint)
    return chosen


def _send(spec: NotificationReceiver, notice: Notification) -> NotificationError | NotificationUnavailable | None:
    from edgewright.notifications.notifiers import open_notifiers

    try:
        open_notifiers([spec])[spec.name].send(notice)
    except (NotificationError, NotificationUnavailable) as problem:
        return problem
    return None
