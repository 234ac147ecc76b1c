"""``edgewright validate``: check specs without planning."""

import typer

from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import HERE, EnvOption, Exit, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.render.quantities import count_text
from edgewright.cli.workspace import Workspace
from edgewright.core.snapshot import Snapshot
from edgewright.errors import Problem, SpecError
from edgewright_schemas.fleet import Fleet


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate", epilog="Example: edgewright validate --ref main -o json")(validate)


def validate(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check every spec and report all problems as file:line:column.

    Reads the work tree, or a commit with --ref; tries each fleet's template on the devices of its inventory. Exit
    code 0 when all is well, 1 otherwise.
    """
    workspace = Workspace(repo, ref=ref, worktree=ref is None, state=state, env=env)
    try:
        found = workspace.source.snapshot()
        count = len(found.resources)
        for inventory in found.inventories:
            _ = found.inventories[inventory]
        _look_further(workspace, found)
    except SpecError as error:
        _show(error.problems, output)
        raise typer.Exit(Exit.ERROR) from None
    if output is Output.JSON:
        print_json({"valid": True, "resources": count, "problems": []})
    else:
        stdout().print(f"{count_text(count, 'resource')}, no problems")


def _look_further(workspace: Workspace, found: Snapshot) -> None:
    """Check what a snapshot does not: files outside Git, and what templates make of the devices."""
    from edgewright.cli.missing_sources import missing_sources

    problems = missing_sources(workspace.source, found, workspace.root)
    fleets = [r.document for r in found.resources.values() if isinstance(r.document, Fleet)]
    if any(fleet.spec.config is not None for fleet in fleets):
        from edgewright.cli.trying_templates import template_problems

        problems += template_problems(workspace.source, found)
    if problems:
        raise SpecError(problems)


def _show(problems: tuple[Problem, ...], output: Output) -> None:
    if output is Output.JSON:
        listed = [
            {"path": p.path, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint} for p in problems
        ]
        print_json({"valid": False, "problems": listed})
        return
    console = stdout()
    for problem in problems:
        console.print(str(problem))
    stderr().print(f"{count_text(len(problems), 'problem')} found", style="bold red")
