"""Previews of pull requests from a checkout alone: computed without a state, written or posted by CI."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from typing import Protocol

from edgewright.controller.preview_reports import Change, PreviewTarget, following, nothing_follows, report_of
from edgewright.core.review.previews import PreviewReport, status_context
from edgewright.core.suggestions import suggestion
from edgewright.errors import SourceError
from edgewright.ports import Forge
from edgewright.services.comparison import plan_from
from edgewright.services.environment import Environment
from edgewright_schemas.environment import Follow


class ForgeEnvironment(Environment, Protocol):
    """An environment whose repository has a forge."""

    def open_forge(self) -> Forge | None:
        """Connect to the forge; None without settings for one.

        Raises:
            ForgeError: Something of its settings is missing or wrong.
        """
        ...


def preview(environment: Environment, base: str, head: str | None, names: Collection[str] = ()) -> PreviewReport:
    """Compute what merging a head into a base would do; the base is taken as applied.

    Args:
        environment: The repository; its state is not looked at.
        base: Branch or commit.
        head: The revision to be merged; None: HEAD.
        names: Only these environments; empty: all that follow the base branch.

    Raises:
        SourceError, SourceUnavailable: A revision or an environment is not there.
    """
    base_commit = environment.source_at(base).revision()
    head_commit = environment.source_at(head).revision()
    branch = branch_name(base)
    targets = _targets(environment, base_commit, branch)
    others: tuple[PreviewTarget, ...] | None = None
    if names:
        reached = tuple(_named(targets, name) for name in dict.fromkeys(names))
    else:
        reached, others = following(targets, branch)
    folder = environment.upstream.folder
    if not reached:
        return replace(nothing_follows(targets, branch, head_commit, None), folder=folder)
    merge = environment.upstream.merge(base_commit, head_commit)
    change = Change(branch, base_commit, head_commit, merge.revision, merge.conflicts)
    return replace(report_of(environment.upstream, reached, others, change, None), folder=folder)


def has_changes(report: PreviewReport) -> bool:
    """Return whether merging would do anything."""
    return any(each.plan is not None and not each.plan.empty for each in report.environments)


def post_preview(environment: ForgeEnvironment, number: int | None, report: PreviewReport) -> str | None:
    """Write the comment and the commit status of a pull request, or edit them; without a number, the status alone.

    Returns:
        The comment's URL, empty where there is none; None without settings for a forge.

    Raises:
        ForgeError, ForgeUnavailable: The forge refuses, or does not answer.
    """
    from edgewright.controller.previews import CONTEXT
    from edgewright.render.preview_markdown import description_text, marker, preview_markdown

    forge = environment.open_forge()
    if forge is None:
        return None
    try:
        url = ""
        if number is not None:
            url = forge.put_comment(number, marker(report.folder), preview_markdown(report, forge.comment_limit)).url
        context = status_context(CONTEXT, report.folder)
        forge.set_status(report.head, context, report.verdict, description_text(report), url)
    finally:
        forge.close()
    return url


def branch_name(base: str) -> str:
    """Return the branch that a name for its commit speaks of: ``origin/main`` and ``refs/heads/main`` of ``main``."""
    for prefix in ("refs/heads/", "refs/remotes/origin/", "origin/"):
        if base.startswith(prefix):
            return base.removeprefix(prefix)
    return base


def _targets(environment: Environment, base_commit: str, branch: str) -> tuple[PreviewTarget, ...]:
    """List the environments the base declares; the repository itself where it declares none."""
    declared = environment.upstream.declared(base_commit)
    environments = declared.spec.environments if declared is not None else ()
    if not environments:
        return (_target(environment, "", Follow(branch=branch), base_commit),)
    return tuple(_target(environment, each.name, each.follow, base_commit) for each in environments)


def _target(environment: Environment, name: str, follow: Follow, base_commit: str) -> PreviewTarget:
    """Make a target that compares with the base as if it were applied."""
    own = environment.for_environment(name)
    before = cache(environment.upstream.source(lambda: base_commit, name).snapshot)
    return PreviewTarget(
        environment=name,
        follow=follow,
        plan=lambda desired: plan_from(own, before(), desired),
        in_force=before,
        revision=lambda: base_commit,
    )


def _named(targets: Sequence[PreviewTarget], name: str) -> PreviewTarget:
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
