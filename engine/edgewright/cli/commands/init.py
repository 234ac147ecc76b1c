"""``edgewright init``: start a spec repository."""

import re
import shlex
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import stdout
from edgewright.cli.options import EnvOption, StateOption
from edgewright.cli.render.quantities import count_text
from edgewright.errors import EdgewrightError

if TYPE_CHECKING:
    from edgewright_templates.scaffold import ScaffoldRefused


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
    from edgewright_templates.scaffold import ScaffoldRefused, write_scaffold

    committed = True
    if not keys_only:
        with _writing(directory):
            try:
                written = write_scaffold(directory, name or directory.resolve().name)
            except ScaffoldRefused as refused:
                raise EdgewrightError(str(refused), hint=_way_out(refused, directory, name)) from refused
            committed = _commit(directory, written)
        stdout().print(f"wrote {count_text(len(written), 'file')} to {directory}")
    workspace = open_workspace(directory, worktree=True, state=state, env=env)
    _make_keys(workspace.keys_to_make)
    desired = workspace.source.snapshot()
    workspace.repository(desired).create()
    trusted = workspace.delivery_folder(desired) / "metadata/root.json"
    stdout().print(f"devices trust {_shown(trusted)}")
    if not keys_only:
        commit = "" if committed else "git add . && git commit -m 'Declare a first fleet' && "
        stdout().print(f"next: cd {shlex.quote(str(directory))} && {commit}edgewright plan")


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Turn what keeps a repository from being written into words."""
    from edgewright.durable import space_for

    try:
        with space_for(directory):
            yield
    except OSError as error:
        raise EdgewrightError(
            f"cannot write {error.filename or directory}: {error.strerror}",
            hint="make the folder writable, or name another one; then run it again",
        ) from error


def _make_keys(folder: Path) -> None:
    """Make what is lacking of a repository's keys, and say what was made.

    Raises:
        DeliveryError, DeliveryUnavailable, StorageFull: They cannot be made.
    """
    from edgewright.delivery.identity.credentials import create_credentials
    from edgewright.delivery.repository.keys import ROLES, create_keys, load_keys

    if any((folder / f"{role}.{kind}").exists() for role in ROLES for kind in ("pub", "pem")):
        load_keys(folder)
        made = create_credentials(folder)
        what = f"made {', '.join(made)}" if made else "all keys are there already"
        stdout().print(f"{what} in {_shown(folder)} (never commit them; keep a copy)")
    else:
        create_keys(folder)
        create_credentials(folder)
        stdout().print(f"made signing keys in {_shown(folder)} (never commit them; keep a copy)")


def _shown(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _way_out(refused: "ScaffoldRefused", directory: Path, name: str | None) -> str:
    """Say what to do about a scaffold that was refused; a folder's name that is no name needs another one."""
    if name is None and (valid := nearest_name(directory.resolve().name)) != directory.resolve().name:
        return f"{refused.hint}: edgewright init {shlex.quote(str(directory))} --name {valid}"
    return refused.hint


def nearest_name(text: str) -> str:
    """Turn any text into a name resources may have."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9.]+", "-", ascii_only).strip("-.") or "my-fleet"


def _commit(directory: Path, written: list[Path]) -> bool:
    """Make it a Git repository with one commit, signed by nobody in particular when Git knows no name.

    Returns:
        Whether the files are committed; inside another repository, committing is for its owner.

    Raises:
        EdgewrightError, OSError: Git cannot write it; what it made is taken away again, so that it can be repeated.
    """
    from git import GitCommandError, InvalidGitRepositoryError, Repo

    paths = [str(path.resolve().relative_to(directory.resolve())) for path in written]
    try:
        with Repo(directory, search_parent_directories=True) as repo:
            there = [str(path.resolve()) for path in written]
            return repo.head.is_valid() and not repo.git.status("--porcelain", "--ignored", "--", *there)
    except GitCommandError:
        return False
    except InvalidGitRepositoryError:
        pass
    made = directory / ".git"
    is_ours = not made.exists()
    try:
        _begin(directory, paths)
    except (GitCommandError, OSError) as error:
        if is_ours:
            shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, GitCommandError):
            said = error.stderr.strip().removeprefix("stderr: ").strip("' ") or f"it ended with {error.status}"
            raise EdgewrightError(
                f"git cannot make a repository of {directory}: {said}",
                hint="is there space, and may the folder be written? Then run it again",
            ) from error
        raise
    return True


def _begin(directory: Path, paths: list[str]) -> None:
    """Start a repository with these files."""
    from git import Actor, Repo

    with Repo.init(directory, initial_branch="main") as repo:
        repo.index.add(paths)
        with repo.config_reader() as config:
            known = config.has_option("user", "email")
        actor = None if known else Actor("edgewright", "edgewright@localhost")
        repo.index.commit("Declare a first fleet", author=actor, committer=actor)
