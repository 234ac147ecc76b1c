"""``edgewright gc``: remove stored artifacts that nothing refers to."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.render.quantities import bytes_text, count_text
from edgewright.cli.workspaces import open_workspace

if TYPE_CHECKING:  # what judges is imported only by a run
    from edgewright.services.retention import EnvironmentNeeds


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gc", epilog="Example: edgewright gc --dry-run")(gc)


def gc(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    newest: Annotated[int, typer.Option("--newest", min=0, help="Keep so many of each step in any case.")] = 2,
    min_age_hours: Annotated[float, typer.Option("--min-age-hours", min=0, help="Keep younger files.")] = 1.0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Remove artifacts that neither the current commit, a champion, a device nor a rollout refers to.

    Environments share artifacts: what any of them needs stays. Without --env, all that are declared are cleaned up.
    """
    from edgewright.services.retention import needs_of

    needs = needs_of(open_workspace(repo, ref=ref, state=state, env=env))
    with ExitStack() as leases:
        for each in () if dry_run else [each for each in needs if each.is_led]:
            leases.enter_context(each.workspace.lease("edgewright gc"))
        done = _collect(needs, dry_run=dry_run, newest=newest, min_age=timedelta(hours=min_age_hours))
    if output is Output.JSON:
        print_json({"dryRun": dry_run, **done})
        return
    removed = ", ".join(
        (
            count_text(done["artifacts"], "artifact"),
            f"{count_text(done['files'], 'stored file')} ({bytes_text(done['bytes'])})",
            count_text(done["publishedPackages"], "published package"),
            count_text(done["workFolders"], "folder") + " of abandoned work",
        )
    )
    stays = f"{count_text(done['kept'], 'file')} stay, {done['young']} of them because they are too young to judge"
    stdout().print(f"{'would remove' if dry_run else 'removed'} {removed}; {stays}")


def _collect(needs: "Sequence[EnvironmentNeeds]", *, dry_run: bool, newest: int, min_age: timedelta) -> dict[str, int]:
    from edgewright.blobs.gc import sweep
    from edgewright.blobs.retention import kept, referenced_blobs
    from edgewright.services.retention import abandoned_work, collect_published

    workspace = needs[0].workspace
    artifacts = workspace.state.artifacts()  # before anything is judged: what others record from now on stays
    keep = kept(
        artifacts,
        desired={fingerprint for each in needs for fingerprint in each.artifacts()},
        champions=[champion for each in needs for champion in each.champions],
        packages={package for each in needs for package in each.packages},
        newest=newest,
    )
    gone = sorted(artifacts.keys() - keep)
    if not dry_run:
        workspace.state.forget_artifacts(gone)
    referenced = referenced_blobs(artifacts, keep, (config for each in needs for config in each.uses.configs))
    swept = sweep(workspace.blobs, referenced, workspace.clock(), min_age=min_age, dry_run=dry_run)
    planned = {name for each in needs for name in each.planned_work()}
    return {
        "artifacts": len(gone),
        "files": len(swept.blobs),
        "bytes": swept.bytes,
        "publishedPackages": collect_published(needs, dry_run=dry_run),
        "workFolders": abandoned_work(workspace.folder, planned, dry_run=dry_run),
        "kept": swept.kept,
        "young": swept.young,
    }
