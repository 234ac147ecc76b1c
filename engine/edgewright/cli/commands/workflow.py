"""``edgewright workflow``: the file that lets a forge's own CI preview pull requests."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import stderr
from edgewright.errors import EdgewrightError

if TYPE_CHECKING:
    from edgewright_templates.ci import Workflow


class _Forge(StrEnum):
    GITHUB = "github"
    GITLAB = "gitlab"
    FORGEJO = "forgejo"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("workflow", epilog="Example: edgewright workflow github --write")(workflow)


def workflow(
    forge: Annotated[_Forge, typer.Argument(help="Whose CI runs it.", show_default=False)],
    write: Annotated[bool, typer.Option("--write", help="Write it to its place in the repository.")] = False,
    commit: Annotated[
        str | None,
        typer.Option("--commit", help="Commit of edgewright that CI installs.", show_default="the one installed here"),
    ] = None,
    repo: Annotated[Path, typer.Option("--repo", help="The spec repository, a folder.", show_default="here")] = Path(),
) -> None:
    """Print a CI file that previews pull requests: no server needed, no secrets for forks.

    --write puts it into .github/workflows/, .gitlab/ or .forgejo/workflows/, and never over another file. CI installs
    edgewright from its repository, by commit: it is not on PyPI.
    """
    from edgewright.cli.installed import commit_to_install
    from edgewright_templates.ci import workflow as make

    made = make(forge.value, commit_to_install(commit))
    if not write:
        typer.echo(made.text, nl=False)
        return
    done = _write(_root(repo), made)
    stderr().print(f"{'wrote' if done else 'unchanged:'} {made.place}", highlight=False)
    stderr().print(f"next: {made.next}", highlight=False, markup=False)


def _root(repo: Path) -> Path:
    """The top of the work tree that a folder lies in.

    Raises:
        EdgewrightError: It lies in none.
    """
    from git import Repo
    from git.exc import InvalidGitRepositoryError, NoSuchPathError

    try:
        with Repo(repo, search_parent_directories=True) as found:
            top = found.working_tree_dir
    except (InvalidGitRepositoryError, NoSuchPathError):
        top = None
    if top is None:
        raise EdgewrightError(f"{repo} is in no Git work tree", hint="run it in the spec repository, or give --repo")
    return Path(top)


def _write(root: Path, made: "Workflow") -> bool:
    """Write the file; False when it is there already.

    Raises:
        EdgewrightError: Something else is in its place, or it cannot be written.
    """
    from edgewright.durable import make_folder, write_atomic

    path, data = root / made.place, made.text.encode()
    led_away = next((p for p in (path, *path.parents) if p != root and root in p.parents and p.is_symlink()), None)
    if led_away is not None:
        raise EdgewrightError(f"{led_away.relative_to(root)} is a symbolic link", hint="put a file or folder there")
    try:
        if path.exists():
            if path.read_bytes() == data:
                return False
            raise EdgewrightError(
                f"{made.place} is there already and says something else",
                hint="compare it with the output of this command without --write; move it away to have a new one",
            )
        make_folder(path.parent)
        write_atomic(path, data)
    except OSError as error:
        raise EdgewrightError(
            f"cannot write {made.place}: {error.strerror}", hint="look at its folder's rights"
        ) from error
    return True
