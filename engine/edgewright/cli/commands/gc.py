"""``edgewright gc``: remove stored artifacts that nothing refers to."""

from datetime import timedelta
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.render.quantities import bytes_text, count_text


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gc", epilog="Example: edgewright gc --dry-run")(gc)


def gc(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    newest: Annotated[int, typer.Option("--newest", min=0, help="Keep so many of each step in any case.")] = 2,
    min_age_hours: Annotated[float, typer.Option("--min-age-hours", min=0, help="Keep younger files.")] = 1.0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Remove artifacts that neither the current commit, a champion, a device nor a rollout refers to.

    Environments share artifacts: what any of them needs stays. Without --env, all that are declared are cleaned up.
    """
    from edgewright.services.retention import collect

    workspace = open_workspace(repo, ref=ref, state=state, env=env)
    done = collect(workspace, dry_run=dry_run, newest=newest, min_age=timedelta(hours=min_age_hours))
    if output is Output.JSON:
        print_json(
            {
                "dryRun": dry_run,
                "artifacts": done.artifacts,
                "files": done.files,
                "bytes": done.bytes,
                "publishedPackages": done.published_packages,
                "workFolders": done.work_folders,
                "kept": done.kept,
                "young": done.young,
            }
        )
        return
    removed = ", ".join(
        (
            count_text(done.artifacts, "artifact"),
            f"{count_text(done.files, 'stored file')} ({bytes_text(done.bytes)})",
            count_text(done.published_packages, "published package"),
            count_text(done.work_folders, "folder") + " of abandoned work",
        )
    )
    stdout().print(f"{'would remove' if dry_run else 'removed'} {removed}; {stays_text(done.kept, done.young)}")


def stays_text(kept: int, young: int) -> str:
    """Write how many files stay, and how many of them for their age alone."""
    stay = f"{count_text(kept, 'file')} {'stays' if kept == 1 else 'stay'}"
    why = f"{young:,} of them because {'it is' if young == 1 else 'they are'} too young to judge"
    return f"{stay}, {why}" if young else stay
