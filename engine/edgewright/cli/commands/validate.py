"""``edgewright validate``: check specs without planning, as every environment sees them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import HERE, EnvOption, Exit, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.render.quantities import count_text
from edgewright.cli.workspaces import open_workspace
from edgewright.core.snapshot import Snapshot
from edgewright.errors import Problem, SpecError
from edgewright.ports import SnapshotSource
from edgewright.wiring.workspace import Workspace
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

    Reads the work tree, or a commit with --ref; tries each fleet's template on the devices of its inventory. Every
    environment is checked that edgewright.yaml declares, or only the one named. Exit code 0 when all is well, 1
    otherwise.
    """
    is_edited = ref is None and not open_workspace(repo).is_remote
    workspace = open_workspace(repo, ref=ref, worktree=is_edited, state=state, env=env)
    seen_as, declared = _views(workspace)
    names = [env] if env else declared or [""]
    checked = {name: _check(workspace, seen_as(name)) for name in names}
    problems = _attributed(checked)
    if problems:
        _show(problems, output)
        raise typer.Exit(Exit.ERROR)
    counts = {name: count for name, (count, _) in checked.items()}
    base = _check(workspace, seen_as("")) if declared and not env else None
    if output is Output.JSON:
        print_json(_described(counts, base))
        return
    for name, count in counts.items():
        where = f"environment {name}: " if name else ""
        stdout().print(f"{where}{count_text(count, 'resource')}, no problems")
    if base is not None and base[1]:
        stderr().print(
            f"without an environment it is not whole ({count_text(len(base[1]), 'problem')}): name one with --env"
        )


def _views(workspace: Workspace) -> tuple[Callable[[str], SnapshotSource], list[str]]:
    """Return what shows one revision as any environment, and the environments it declares.

    None are returned where the Repository document is wrong: the snapshot of the base has all that is wrong with it.
    """
    from edgewright.source.commits import GitSource
    from edgewright.source.worktree import WorktreeSource

    source = workspace.source
    if workspace.is_remote:
        revision = source.revision()

        def seen_as(name: str) -> SnapshotSource:
            return workspace.upstream.source(lambda: revision, name)
    else:

        def seen_as(name: str) -> SnapshotSource:
            return source if name == workspace.env else workspace.for_environment(name).source

    try:
        if isinstance(source, GitSource | WorktreeSource):
            repository = source.declared()
        else:
            repository = workspace.upstream.declared(source.revision())
    except SpecError:
        repository = None
    return seen_as, [each.name for each in repository.spec.environments] if repository else []


def _check(workspace: Workspace, source: SnapshotSource) -> tuple[int, tuple[Problem, ...]]:
    """Count the resources of an environment, and list its problems."""
    try:
        found = source.snapshot()
        for inventory in found.inventories:
            _ = found.inventories[inventory]
        return len(found.resources), _look_further(source, found, workspace.root)
    except SpecError as error:
        return 0, error.problems


Attributed = tuple[Problem, tuple[str, ...]]
"""A problem, and the environments that have it where it is not all of them."""


def _attributed(checked: Mapping[str, tuple[int, Sequence[Problem]]]) -> list[Attributed]:
    """List every problem once, in the order of files."""
    where: dict[Problem, list[str]] = {}
    for name, (_, problems) in checked.items():
        for problem in dict.fromkeys(problems):
            where.setdefault(problem, []).append(name)
    return [(problem, () if len(names) == len(checked) else tuple(names)) for problem, names in sorted(where.items())]


def _described(counts: Mapping[str, int], base: tuple[int, Sequence[Problem]] | None) -> dict[str, Any]:
    if "" in counts:
        return {"valid": True, "resources": counts[""], "problems": []}
    found: dict[str, Any] = {"valid": True, "environments": counts, "problems": []}
    return found if base is None else found | {"base": {"valid": not base[1], "resources": base[0]}}


def _look_further(source: SnapshotSource, found: Snapshot, root: Path) -> tuple[Problem, ...]:
    """Check what a snapshot does not: files outside Git, and what templates make of the devices."""
    from edgewright.services.missing_sources import missing_sources

    problems = missing_sources(source, found, root)
    fleets = [r.document for r in found.resources.values() if isinstance(r.document, Fleet)]
    if any(fleet.spec.config is not None for fleet in fleets):
        from edgewright.services.template_checks import template_problems

        problems += template_problems(source, found)
    return problems


def _show(problems: Sequence[Attributed], output: Output) -> None:
    if output is Output.JSON:
        listed = [
            {"path": p.path, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint}
            | ({"environments": list(names)} if names else {})
            for p, names in problems
        ]
        print_json({"valid": False, "problems": listed})
        return
    console = stdout()
    for problem, names in problems:
        where = f", in environment{'s' * (len(names) > 1)} {', '.join(names)}" if names else ""
        console.print(str(replace(problem, message=f"{problem.message}{where}")))
    stderr().print(f"{count_text(len(problems), 'problem')} found", style="bold red")
