"""``edgewright preview``: the comment of a pull request, from a checkout alone; written, or posted by CI."""

from pathlib import Path
from typing import Annotated

import typer

from edgewright.cli.console import stderr
from edgewright.cli.options import HERE, Exit, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.errors import StorageFull

_EXAMPLES = (
    "Examples: edgewright preview --base origin/main · "
    'edgewright preview --base origin/main --number "$NUMBER" --detailed-exitcode'
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preview", epilog=_EXAMPLES)(preview)


def preview(
    base: Annotated[str, typer.Option("--base", help="What is merged into, taken as applied: branch or commit.")],
    head: Annotated[str | None, typer.Option("--head", help="The revision to be merged; HEAD by default.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", help="Only this environment; by default all that follow the base branch. Repeatable."),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("--number", help="Also write the pull request's comment and commit status.", min=1),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Also set the head's commit status, as of a merge queue's group.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", help="Write to this file instead of stdout.")] = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="0: nothing to do, 1: error, 2: changes.")
    ] = False,
) -> None:
    """Write what merging a pull request would do, as the comment the controller would write.

    Needs no state and runs no code of the repository: the base is taken as applied, and the head is merged into it in
    memory. With --number and a token (EDGEWRIGHT_FORGE_TOKEN, or CI's own) the comment is put there, or edited;
    --status alone sets the commit status without a comment.
    """
    from edgewright.render.preview_markdown import preview_markdown
    from edgewright.services import previews

    workspace = open_workspace(repo, state=state)
    report = previews.preview(workspace, base, head, env or [])
    _write(preview_markdown(report), output)
    if number is not None or status:
        url = previews.post_preview(workspace, number, report)
        missing = "no token: the comment was not posted; set EDGEWRIGHT_FORGE_TOKEN to post it"
        stderr().print(missing if url is None else f"written to {url or 'the commit status'}")
    if report.verdict != "success":
        raise typer.Exit(Exit.ERROR)
    if detailed_exitcode and previews.has_changes(report):
        raise typer.Exit(Exit.CHANGES)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    from edgewright.durable import write_atomic

    try:
        write_atomic(output, text.encode())
    except OSError as error:
        raise StorageFull(f"cannot write {output}: {error.strerror}", hint="name another file with --output") from error
