"""``edgewright init``: start a spec repository."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import stdout
from edgewright.cli.options import EnvOption, StateOption
from edgewright.render.quantities import count_text

if TYPE_CHECKING:
    from edgewright.services.setup import MadeKeys


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", epilog="Example: edgewright init my-fleet && cd my-fleet && edgewright plan")(init)


def init(
    directory: Annotated[Path, typer.Argument(help="Where to put it; made if need be.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The repository's name.", show_default="the folder's")
    ] = None,
    keys_only: Annotated[
        bool, typer.Option("--keys-only", help="Only make the keys that a repository which exists still lacks.")
    ] = False,
    state: StateOption = None,
    env: EnvOption = None,
) -> None:
    """Write a working spec repository: a dataset, a model, thresholds, four devices and a rollout.

    It is a Git repository with one commit. Keys are made beside the state, readable by you alone, and are never
    committed: those that sign what devices run, and those of the APIs that devices talk to. Keys that are there stay.
    """
    from edgewright.cli.workspaces import open_workspace
    from edgewright.services import setup
    from edgewright.wiring.operations import commit_first

    committed = True
    if not keys_only:
        scaffold = setup.write_repository(directory, name, commit_first)
        committed = scaffold.committed
        stdout().print(f"wrote {count_text(scaffold.files, 'file')} to {directory}")
    workspace = open_workspace(directory, worktree=True, state=state, env=env)
    _print_keys(workspace.make_keys())
    stdout().print(f"devices trust {_shown(setup.make_repository(workspace))}")
    if not keys_only:
        commit = "" if committed else "git add . && git commit -m 'Declare a first fleet' && "
        stdout().print(f"next: cd {shlex.quote(str(directory))} && {commit}edgewright plan")


def _print_keys(made: "MadeKeys") -> None:
    what = "made signing keys"
    if made.lacked is not None:
        what = f"made {', '.join(made.lacked)}" if made.lacked else "all keys are there already"
    stdout().print(f"{what} in {_shown(made.folder)} (never commit them; keep a copy)")


def _shown(path: Path) -> Path:
    """Shorten a path below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
