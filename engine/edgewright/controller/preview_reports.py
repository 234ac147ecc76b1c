"""Computes what merging a pull request would do, without running anything of it. Called by ``previews``.

What is planned is the merged result, so that commits the pull request lacks do not look taken back. Specs are parsed
and plans computed; code, templates and commands of the pull request are read as files and digested, never run.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from edgewright.core.planning.plan import Plan
from edgewright.core.review.findings import repository_address
from edgewright.core.review.previews import EnvironmentPreview, PreviewReport
from edgewright.core.review.review import ReviewWarning, review
from edgewright.core.review.secrets import plan_without, secret_values, without_known_forms
from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError, Problem, SourceError, SpecError, Transient
from edgewright.ports import SnapshotSource, Upstream
from edgewright.render.quantities import short
from edgewright_schemas.environment import Follow, Verification
from edgewright_schemas.repository import Repository


@dataclass(frozen=True, slots=True)
class PreviewTarget:
    """One environment that changes may reach."""

    environment: str
    """Empty where the repository declares none."""
    follow: Follow
    plan: Callable[[Snapshot], Plan]
    """Plans against the live state; only reads."""
    in_force: Callable[[], Snapshot | None]
    """What is in force; None before the first revision was taken up."""
    revision: Callable[[], str | None]
    """The revision in force, whose rules say who must have signed."""
    state: Callable[[], str] | None = None
    """Names the state that plans look at, as StateReader.version does; without it every look plans anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """A pull request's commits, as they are at hand."""

    base: str
    """The branch."""
    base_commit: str
    head: str
    merged: str | None
    """A commit that holds the result; None where the two conflict."""
    conflicts: tuple[str, ...] = ()


Targets = tuple[PreviewTarget, ...]


def following(targets: Sequence[PreviewTarget], base: str) -> tuple[Targets, Targets]:
    """Part the environments that a merge into a branch reaches from those it does not."""
    reached = tuple(target for target in targets if target.follow.branch == base)
    return reached, tuple(target for target in targets if target.follow.branch != base)


def nothing_follows(targets: Sequence[PreviewTarget], base: str, head: str, at: datetime | None) -> PreviewReport:
    """Report a change that reaches no environment."""
    said = (f"No environment follows branch {base}, so that merging into it changes no model and no device.",)
    return PreviewReport(base, "", head, remarks=said + tuple(_others(targets)), at=at)


def report_of(
    upstream: Upstream,
    reached: Sequence[PreviewTarget],
    others: Sequence[PreviewTarget] | None,
    change: Change,
    at: datetime | None,
) -> PreviewReport:
    """Compute what a change does.

    Args:
        upstream: Where its commits are.
        reached: The environments a merge reaches.
        others: All other ones there are; None: nothing is to be said of others, known or new.
        change: What is to be merged.
        at: When the live state was looked at; None where targets plan against something else.

    Raises:
        SourceUnavailable, SourceError: The commits cannot be read.
    """
    command = f"edgewright preview --base {change.base} --head {short(change.head)}"
    if change.merged is None:
        return PreviewReport(change.base, change.base_commit, change.head, conflicts=change.conflicts, at=at)
    declared = _declared(upstream, change.merged)
    remarks = [*_others(others or ()), *_turned(_declared(upstream, change.base_commit), declared, others or ())]
    previews = []
    for target in reached:
        if gone := _gone(declared, target):
            remarks.append(gone)
        else:
            previews.append(_Environment(upstream, target, change).preview())
    if others is not None:
        remarks += _new(_declared(upstream, change.base_commit), declared, (*reached, *others), change.base)
    return PreviewReport(
        change.base, change.base_commit, change.head, tuple(previews), tuple(remarks), at=at, command=command
    )


# ── which environments ────────────────────────────────────────────────────────────────────────────────────────


def _others(targets: Iterable[PreviewTarget]) -> Iterator[str]:
    said = [f"{target.environment or 'the repository'} (follows {target.follow})" for target in targets]
    if said:
        yield f"Changed only when what they follow moves: {', '.join(said)}."


def _declared(upstream: Upstream, merged: str) -> Repository | None:
    try:
        return upstream.declared(merged)
    except SpecError:
        return None  # Loading an environment finds the same problems, with all others.


def _gone(declared: Repository | None, target: PreviewTarget) -> str:
    """Return why a merge takes an environment out of the base's reach; empty when it does not."""
    if declared is None:
        return ""
    if not target.environment:
        names = [environment.name for environment in declared.spec.environments]
        if names:
            return f"The repository would declare environments ({', '.join(names)}); as a whole it is none any more."
        return ""
    found = declared.spec.environment(target.environment)
    if found is None:
        return f"Environment {target.environment} would no longer be declared; what it manages is left as it is."
    if found.follow != target.follow:
        return f"Environment {target.environment} would follow {found.follow} instead of {target.follow}."
    return ""


def _turned(before: Repository | None, declared: Repository | None, others: Sequence[PreviewTarget]) -> Iterator[str]:
    """Describe environments that would follow something else after this change.

    The default branch says what every environment follows, also of those that a merge into it reaches no other way.
    """
    if before is None:
        return
    for target in others:
        if before.spec.environment(target.environment) == (declared and declared.spec.environment(target.environment)):
            continue
        yield _gone(declared, target) or f"What is declared of environment {target.environment} would change."


def _new(
    before: Repository | None, declared: Repository | None, targets: Sequence[PreviewTarget], base: str
) -> Iterator[str]:
    known = {target.environment for target in targets}
    known |= {environment.name for environment in before.spec.environments} if before is not None else set()
    for environment in declared.spec.environments if declared is not None else ():
        if environment.name in known:
            continue
        if environment.follow.branch == base:
            yield f"Environment {environment.name} would be new: all that is declared for it would be made."
        else:
            yield f"Environment {environment.name} would be new, and follow {environment.follow}, not this branch."


# ── one environment ───────────────────────────────────────────────────────────────────────────────────────────


class _Environment:
    """One environment, as the merge would leave it."""

    def __init__(self, upstream: Upstream, target: PreviewTarget, change: Change) -> None:
        assert change.merged is not None
        self._upstream = upstream
        self._target = target
        self._change = change
        self._merged = change.merged
        self._source = self._source_at(self._merged)

    def _source_at(self, revision: str) -> SnapshotSource:
        return self._upstream.source(lambda: revision, self._target.environment)

    def preview(self) -> EnvironmentPreview:
        """Compute it. What is wrong with the specs, or cannot be computed, is part of the answer.

        Raises:
            Transient: The upstream did not answer.
        """
        name = self._target.environment
        try:
            snapshot = self._source.snapshot()
            _read_inventories(snapshot)
        except SpecError as error:
            return EnvironmentPreview(name, problems=_shown(error.problems))
        try:
            plan = self._target.plan(snapshot)
            in_force = self._target.in_force()
        except SpecError as error:
            return EnvironmentPreview(name, problems=_shown(error.problems))
        except EdgewrightError as error:
            return EnvironmentPreview(name, trouble=without_known_forms(error.message))
        return self._reviewed(snapshot, plan, in_force)

    def _reviewed(self, snapshot: Snapshot, plan: Plan, in_force: Snapshot | None) -> EnvironmentPreview:
        name = self._target.environment
        trusted = self._target.revision()
        try:
            signature = self._upstream.check(
                Follow(branch=self._change.base), self._change.head, trusted or self._change.base_commit
            )
        except Transient:
            raise
        except EdgewrightError as error:
            return EnvironmentPreview(name, trouble=f"the signature cannot be checked: {error.message}")
        findings = review(in_force, snapshot, plan, signature)
        findings += tuple(self._signers(snapshot, in_force))
        hidden = secret_values(in_force, snapshot)
        return EnvironmentPreview(name, plan_without(plan, hidden), findings, in_force=trusted)

    def _signers(self, snapshot: Snapshot, in_force: Snapshot | None) -> Iterator[ReviewWarning]:
        """Warn when a file that says who is trusted would change."""
        repository = in_force.repository() if in_force is not None else None
        rules = repository.spec.verification if repository is not None else None
        if in_force is None or rules is None:
            return
        address, location = repository_address(snapshot)
        before = self._source_at(in_force.revision)
        for path in _trust_files(rules):
            if _content(before, in_force.revision, path) != _content(self._source, self._merged, path):
                message = f"{path} would change: it says whose signatures are trusted from this merge on"
                yield ReviewWarning("SignersChanged", address, message, location)


def _read_inventories(snapshot: Snapshot) -> None:
    """Read what is read only when it is asked for.

    Raises:
        SpecError: With every problem of every inventory.
    """
    problems: list[Problem] = []
    for path in snapshot.inventories:
        try:
            _ = snapshot.inventories[path]
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)


def _shown(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Leave keys out of what is said of specs that could not be loaded."""
    return tuple(
        replace(problem, message=without_known_forms(problem.message), hint=without_known_forms(problem.hint))
        for problem in problems
    )


def _trust_files(rules: Verification) -> list[str]:
    named = [rules.ssh.allowed_signers, rules.ssh.revoked] if rules.ssh is not None else []
    return [path for path in [*named, rules.gpg.keys if rules.gpg is not None else None] if path is not None]


def _content(source: SnapshotSource, revision: str, path: str) -> bytes | None:
    try:
        return source.read(revision, path)
    except SourceError:
        return None
