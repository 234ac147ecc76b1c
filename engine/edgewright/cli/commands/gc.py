"""``edgewright gc``: remove stored artifacts that nothing refers to."""

from contextlib import nullcontext
from datetime import timedelta
from shutil import rmtree
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.render.quantities import bytes_text, count_text
from edgewright.cli.workspace import Workspace


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
    """Remove artifacts that neither the current commit, a champion, a device nor a rollout refers to."""
    workspace = Workspace(repo, ref=ref, state=state, env=env)
    with nullcontext() if dry_run else workspace.lease("edgewright gc"):
        done = _collect(workspace, dry_run=dry_run, newest=newest, min_age=timedelta(hours=min_age_hours))
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


def _collect(workspace: Workspace, *, dry_run: bool, newest: int, min_age: timedelta) -> dict[str, int]:
    from edgewright.apply.building import work_name
    from edgewright.artifacts.gc import sweep
    from edgewright.artifacts.retention import kept, needed, referenced_blobs
    from edgewright.core.plan import BuildStep
    from edgewright.core.planner import plan, reachable

    desired = workspace.source.snapshot()
    store, blobs, now = workspace.state, workspace.blobs, workspace.clock()
    observed = workspace.reality(desired).observe(desired, retry_failures=True)
    wanted = set(reachable(desired, observed, now))
    rollouts = [found for address in store.rollout_summaries() if (found := store.rollout(address)) is not None]
    uses = needed((entry.assignment for entry in store.assignments().values()), store.reports().values(), rollouts)
    for rollout in rollouts:
        releases = [rollout.release, *(r for p in rollout.devices.values() for r in (p.release, p.verified))]
        wanted |= {release.config for release in releases if release is not None and release.config is not None}
    artifacts = store.artifacts()
    keep = kept(artifacts, desired=wanted, champions=store.champions().values(), packages=uses.packages, newest=newest)
    gone = sorted(artifacts.keys() - keep)
    if not dry_run:
        store.forget_artifacts(gone)
    swept = sweep(blobs, referenced_blobs(artifacts, keep, uses.configs), now, min_age=min_age, dry_run=dry_run)
    champions = {champion.package for champion in store.champions().values()}
    published = workspace.delivery(desired).collect(uses.packages | champions, dry_run=dry_run)
    steps = plan(desired, observed, now).steps
    planned = {work_name(step.fingerprint) for step in steps if isinstance(step, BuildStep) and step.fingerprint}
    abandoned = [folder for folder in (workspace.folder / "work").glob("*") if folder.name not in planned]
    if not dry_run:
        for folder in abandoned:
            rmtree(folder, ignore_errors=True)
    return {
        "artifacts": len(gone),
        "workFolders": len(abandoned),
        "files": len(swept.blobs),
        "bytes": swept.bytes,
        "publishedPackages": len(published.packages),
        "kept": swept.kept,
        "young": swept.young,
    }
