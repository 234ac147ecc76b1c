"""``edgewright validate``: check specs without planning, as every environment sees them."""

from dataclasses import replace
from typing import Any

import typer

from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import HERE, EnvOption, Exit, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.render.quantities import count_text
from edgewright.services.validation import Validation
from edgewright.services.validation import validate as check_specs


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

    Reads the work tree, or a commit with --ref; tries each fleet's template on the devices of its inventory. Every
    environment is checked that edgewright.yaml declares, or only the one named. Exit code 0 when all is well, 1
    otherwise.
    """
    is_edited = ref is None and not open_workspace(repo).is_remote
    found = check_specs(open_workspace(repo, ref=ref, worktree=is_edited, state=state, env=env))
    if output is Output.JSON:
        print_json(_json(found))
    elif found.valid:
        _print_counts(found)
    else:
        _print_problems(found)
    if not found.valid:
        raise typer.Exit(Exit.ERROR)


def _json(found: Validation) -> dict[str, Any]:
    from edgewright.render.status_json import problem_json

    problems = [problem_json(each.problem, each.environments) for each in found.problems]
    described: dict[str, Any] = {"valid": found.valid}
    if found.valid and "" in found.resources:
        described["resources"] = found.resources[""]
    elif found.valid:
        described["environments"] = dict(found.resources)
    described["problems"] = problems
    if found.base is not None:
        described["base"] = {"valid": not found.base.problems, "resources": found.base.resources}
    return described


def _print_counts(found: Validation) -> None:
    for name, count in found.resources.items():
        where = f"environment {name}: " if name else ""
        stdout().print(f"{where}{count_text(count, 'resource')}, no problems")
    if found.base is not None and found.base.problems:
        problems = count_text(len(found.base.problems), "problem")
        stderr().print(f"without an environment it is not whole ({problems}): name one with --env")


def _print_problems(found: Validation) -> None:
    console = stdout()
    for each in found.problems:
        names = each.environments
        where = f", in environment{'s' * (len(names) > 1)} {', '.join(names)}" if names else ""
        console.print(str(replace(each.problem, message=f"{each.problem.message}{where}")))
    stderr().print(f"{count_text(len(found.problems), 'problem')} found", style="bold red")
