"""``edgewright plan``: show what a run would do, now or after a merge."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import (
    HERE,
    DriftOption,
    EnvOption,
    Exit,
    PlanOutput,
    PlanOutputOption,
    RefOption,
    RepoOption,
    StateOption,
    WorktreeOption,
)
from edgewright.cli.workspaces import kept_plan, open_workspace
from edgewright.errors import EdgewrightError

if TYPE_CHECKING:  # a plan that was kept needs none of these
    from rich.console import Console

    from edgewright.core.planning.plan import Plan
    from edgewright.core.review.findings import ReviewWarning

_EXAMPLES = (
    "Examples: edgewright plan --worktree · edgewright plan --out next.plan && edgewright apply next.plan · "
    "edgewright plan --base main --head my-branch -o markdown"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan", epilog=_EXAMPLES)(plan)


def plan(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    worktree: WorktreeOption = False,
    state: StateOption = None,
    env: EnvOption = None,
    output: PlanOutputOption = PlanOutput.TEXT,
    out: Annotated[Path | None, typer.Option("--out", help="Save the plan for apply.")] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="0: nothing to do, 1: error, 2: changes.")
    ] = False,
    base: Annotated[str | None, typer.Option("--base", help="Compare with where the head left this.")] = None,
    head: Annotated[str | None, typer.Option("--head", help="The revision to be merged; HEAD by default.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Plan steps again that failed before.")] = False,
    drift: DriftOption = False,
) -> None:
    """Show what apply would do: what is built, trained and rolled out, and why.

    Nothing is changed and no code of the repository is run. With --base, what the head changes since it left that
    branch is planned and reviewed: the commit both come from is taken as applied; without common history, the base.
    """
    if head is not None and base is None:
        raise EdgewrightError("--head needs --base", hint="write both: --base main --head my-branch")
    if drift and base is not None:
        raise EdgewrightError("--drift is about reality, --base about two revisions", hint="leave out one of them")
    if out is not None:
        _check_savable(worktree=worktree, comparison=base is not None)
    findings: Sequence[ReviewWarning] | None = None
    kept = None if base is not None or worktree or retry or drift else kept_plan(repo, ref=ref, state=state, env=env)
    known = kept.find() if kept is not None else None
    if known is not None and known.line is not None and output is PlanOutput.TEXT and out is None:
        from rich.text import Text

        stdout().print(Text(known.line, style="bold"))
        return
    if known is not None:
        found = known.plan(datetime.now(UTC))
    elif base is not None:
        from edgewright.services.comparison import between

        compared = between(open_workspace(repo, ref=head or ref, worktree=worktree, state=state, env=env), base)
        found, findings = compared.plan, compared.findings
        if not compared.is_where_they_part:
            note = f"the history at hand does not tell where the two part: compared with {base} itself, so that what it"
            note += " got since looks taken back. Fetch all history (git fetch --unshallow; in CI a fetch depth of 0)"
            stderr().print(note, style="yellow")
    else:
        from edgewright.services.plans import current_plan

        workspace = open_workspace(repo, ref=ref, worktree=worktree, state=state, env=env)
        if kept is not None:
            kept.note(workspace)
        found = current_plan(workspace, retry_failures=retry, drift=drift)
        if kept is not None:
            kept.keep(workspace, found)
    show(found, output, findings=findings)
    if out is not None:
        from edgewright.services.plans import save

        save(found, out)
    if detailed_exitcode and not found.empty:
        raise typer.Exit(Exit.CHANGES)


def show(
    found: "Plan",
    output: PlanOutput,
    console: "Console | None" = None,
    *,
    findings: "Sequence[ReviewWarning] | None" = None,
) -> None:
    """Write a plan, and what a review found where there was one; as text also elsewhere than to stdout."""
    match output:
        case PlanOutput.JSON:
            from edgewright.render.plan_json import plan_json

            print_json(plan_json(found, findings))
        case PlanOutput.MARKDOWN:
            from edgewright.render.plan_markdown import plan_markdown

            typer.echo(plan_markdown(found, findings or ()))
        case PlanOutput.TEXT:
            from edgewright.cli.render.plan_text import plan_text

            console = console or stdout()
            for line in plan_text(found, findings or ()):
                console.print(line)


def _check_savable(*, worktree: bool, comparison: bool) -> None:
    """Refuse to save what could never be applied, before anything is shown."""
    if worktree:
        raise EdgewrightError(
            "a plan of uncommitted edits cannot be saved: apply makes reality match a commit",
            hint="commit, then plan without --worktree; or leave out --out",
        )
    if comparison:
        raise EdgewrightError(
            "a comparison of two revisions cannot be saved: it is not about reality",
            hint="leave out --base and --head to save a plan for apply",
        )
