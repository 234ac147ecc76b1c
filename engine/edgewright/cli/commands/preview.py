"""``edgewright preview``: the comment of a pull request, from a checkout alone; written, or posted by CI."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import stderr
from edgewright.cli.options import HERE, Exit, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.core.review.previews import PreviewReport
from edgewright.core.suggestions import suggestion
from edgewright.errors import SourceError, StorageFull
from edgewright.wiring.workspace import Workspace

if TYPE_CHECKING:  # what the command needs is imported when it is called
    from edgewright.controller.preview_reports import PreviewTarget
    from edgewright_schemas.environment import Follow

_EXAMPLES = (
    "Examples: edgewright preview --base origin/main · "
    'edgewright preview --base origin/main --number "$NUMBER" --detailed-exitcode'
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preview", epilog=_EXAMPLES)(preview)


def preview(
    base: Annotated[str, typer.Option("--base", help="What is merged into, taken as applied: branch or commit.")],
    head: Annotated[str | None, typer.Option("--head", help="The revision to be merged; HEAD by default.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", help="Only this environment; by default all that follow the base branch. Repeatable."),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("--number", help="Also write the pull request's comment and commit status.", min=1),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Write to this file instead of stdout.")] = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="0: nothing to do, 1: error, 2: changes.")
    ] = False,
) -> None:
    """Write what merging a pull request would do, as the comment the controller would write.

    Needs no state and runs no code of the repository: the base is taken as applied, and the head is merged into it in
    memory. With --number and a token (EDGEWRIGHT_FORGE_TOKEN, or CI's own) the comment is put there, or edited.
    """
    from edgewright.render.preview_markdown import preview_markdown

    workspace = open_workspace(repo, state=state)
    report = compute(workspace, base, head, env or [])
    _write(preview_markdown(report), output)
    if number is not None:
        _post(_remote(workspace, repo), number, report)
    if report.verdict != "success":
        raise typer.Exit(Exit.ERROR)
    changes = any(each.plan is not None and not each.plan.empty for each in report.environments)
    if detailed_exitcode and changes:
        raise typer.Exit(Exit.CHANGES)


def compute(workspace: Workspace, base: str, head: str | None, names: list[str]) -> PreviewReport:
    """Compute the report.

    Raises:
        SourceError, SourceUnavailable: A revision or an environment is not there.
    """
    from edgewright.controller.preview_reports import Change, following, nothing_follows, report_of

    base_commit = workspace.source_at(base).revision()
    head_commit = workspace.source_at(head).revision()
    branch = branch_name(base)
    targets = _targets(workspace, base_commit, branch)
    if names:
        reached = tuple(_named(targets, name) for name in dict.fromkeys(names))
        others: tuple[PreviewTarget, ...] | None = None
    else:
        reached, others = following(targets, branch)
    if not reached:
        return nothing_follows(targets, branch, head_commit, None)
    merge = workspace.upstream.merge(base_commit, head_commit)
    change = Change(branch, base_commit, head_commit, merge.revision, merge.conflicts)
    return report_of(workspace.upstream, reached, others, change, None)


def branch_name(base: str) -> str:
    """Find the branch that a name for its commit speaks of: ``origin/main`` and ``refs/heads/main`` of ``main``."""
    for prefix in ("refs/heads/", "refs/remotes/origin/", "origin/"):
        if base.startswith(prefix):
            return base.removeprefix(prefix)
    return base


def _targets(workspace: Workspace, base_commit: str, branch: str) -> tuple["PreviewTarget", ...]:
    """List the environments the base declares; the repository itself where it declares none."""
    from edgewright_schemas.environment import Follow

    declared = workspace.upstream.declared(base_commit)
    environments = declared.spec.environments if declared is not None else ()
    if not environments:
        return (_target(workspace, "", Follow(branch=branch), base_commit),)
    return tuple(_target(workspace, each.name, each.follow, base_commit) for each in environments)


def _target(workspace: Workspace, name: str, follow: "Follow", base_commit: str) -> "PreviewTarget":
    """Make one that compares with the base as if it were applied."""
    from edgewright.controller.preview_reports import PreviewTarget
    from edgewright.services.comparison import plan_from

    own = workspace.for_environment(name)
    before = cache(workspace.upstream.source(lambda: base_commit, name).snapshot)
    return PreviewTarget(
        environment=name,
        follow=follow,
        plan=lambda desired: plan_from(own, before(), desired),
        in_force=before,
        revision=lambda: base_commit,
    )


def _named(targets: "Sequence[PreviewTarget]", name: str) -> "PreviewTarget":
    """Find an environment by name.

    Raises:
        SourceError: There is none.
    """
    found = next((target for target in targets if target.environment == name), None)
    if found is None:
        known = [target.environment for target in targets if target.environment]
        hint = suggestion(name, known) if known else "edgewright.yaml declares none: leave --env out"
        raise SourceError(f"there is no environment {name!r}", hint=hint)
    return found


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    from edgewright.durable import write_atomic

    try:
        write_atomic(output, text.encode())
    except OSError as error:
        raise StorageFull(f"cannot write {output}: {error.strerror}", hint="name another file with --output") from error


def _post(remote: str | None, number: int, report: PreviewReport) -> None:
    """Put the comment and the commit status where the pull request is; without a token, say so.

    Raises:
        ForgeError, ForgeUnavailable: The forge refuses, or does not answer.
    """
    from edgewright.controller.previews import CONTEXT
    from edgewright.forges.opening import open_forge
    from edgewright.forges.settings import ForgeSettings
    from edgewright.render.preview_markdown import MARKER, description_text, preview_markdown

    settings = ForgeSettings.guess(remote)
    if settings is None:
        stderr().print("no token: the comment was not posted; set EDGEWRIGHT_FORGE_TOKEN to post it")
        return
    forge = open_forge(settings)
    try:
        comment = forge.put_comment(number, MARKER, preview_markdown(report, forge.comment_limit))
        forge.set_status(report.head, CONTEXT, report.verdict, description_text(report), comment.url)
    finally:
        forge.close()
    stderr().print(f"written to {comment.url}")


def _remote(workspace: Workspace, repo: str) -> str | None:
    """Find the URL of the repository's remote."""
    if workspace.is_remote:
        return repo
    from edgewright.source.git.repositories import GitRepository

    repository = GitRepository(workspace.root)
    try:
        return repository.run("remote", "get-url", "origin").strip()
    except SourceError:
        return None
    finally:
        repository.close()
