"""``edgewright show``: what was found in a dataset, or measured of a model."""

from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import (
    HERE,
    EnvOption,
    Output,
    OutputOption,
    RefOption,
    RepoOption,
    StateOption,
    WorktreeOption,
)
from edgewright.cli.workspaces import open_workspace


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "show", epilog="Examples: edgewright show dataset/price-tags · edgewright show model/price-tag-reader -o json"
    )(show)


def show(
    address: Annotated[str, typer.Argument(help="A dataset or model, like model/price-tag-reader.")],
    repo: RepoOption = HERE,
    ref: RefOption = None,
    worktree: WorktreeOption = False,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what was found in a dataset or measured of a model: rows, figures, slices, confusion, gates.

    Reads what is recorded; changes nothing. Where the spec has changed since, it shows the last one made, and says so.
    """
    from edgewright.services import status

    found = status.show(open_workspace(repo, ref=ref, worktree=worktree, state=state, env=env), address)
    if output is Output.JSON:
        from edgewright.render.results_json import results_json

        print_json(results_json(found))
        return
    from edgewright.cli.render.results import print_results

    print_results(stdout(), found)
