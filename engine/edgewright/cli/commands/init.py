"""``edgewright init``: start a spec repository."""

from pathlib import Path
from typing import Annotated

import typer

from edgewright.cli.console import stdout
from edgewright.cli.options import StateOption
from edgewright.cli.render.quantities import count_text
from edgewright.errors import EdgewrightError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", epilog="Example: edgewright init my-fleet && cd my-fleet && edgewright plan")(init)


def init(
    directory: Annotated[Path, typer.Argument(help="Where to put it; made if need be.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The repository's name.", show_default="the folder's")
    ] = None,
    keys_only: Annotated[
        bool, typer.Option("--keys-only", help="Only make the signing keys of a repository that exists.")
    ] = False,
    state: StateOption = None,
) -> None:
    """Write a working spec repository: a dataset, a model, thresholds, four devices and a rollout.

    It is a Git repository with one commit. Signing keys are made beside the state, readable by you alone, and are
    never committed.
    """
    from edgewright.cli.workspace import STATE_FOLDER, Workspace
    from edgewright.delivery.keys import create_keys
    from edgewright_templates.scaffold import ScaffoldRefused, write_scaffold

    folder = Path(state).expanduser() if state else directory / STATE_FOLDER
    if not keys_only:
        try:
            written = write_scaffold(directory, name or directory.resolve().name)
        except ScaffoldRefused as refused:
            raise EdgewrightError(str(refused), hint="choose an empty folder, or another name") from refused
        _commit(directory, written)
        stdout().print(f"wrote {count_text(len(written), 'file')} to {directory}", markup=False)
    create_keys(folder / "keys")
    stdout().print(f"made signing keys in {folder / 'keys'} (never commit them; keep a copy)", markup=False)
    workspace = Workspace(directory, worktree=True, state=state)
    workspace.delivery(workspace.source.snapshot()).create()
    stdout().print(f"devices trust {folder / 'repository/metadata/root.json'}", markup=False)
    if not keys_only:
        stdout().print(f"next: cd {directory} && edgewright plan", markup=False)


def _commit(directory: Path, written: list[Path]) -> None:
    """Make it a Git repository with one commit, signed by nobody in particular when Git knows no name."""
    from git import Actor, InvalidGitRepositoryError, Repo

    try:
        Repo(directory, search_parent_directories=True)
    except InvalidGitRepositoryError:
        repo = Repo.init(directory, initial_branch="main")
    else:
        return
    with repo:
        repo.index.add([str(path.resolve().relative_to(directory.resolve())) for path in written])
        with repo.config_reader() as config:
            known = config.has_option("user", "email")
        actor = None if known else Actor("edgewright", "edgewright@localhost")
        repo.index.commit("Declare a first fleet", author=actor, committer=actor)
