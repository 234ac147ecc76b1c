"""``edgewright apply``: make reality match."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.commands.plan import current, show
from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import (
    HERE,
    EnvOption,
    Exit,
    Output,
    OutputOption,
    PlanOutput,
    RefOption,
    RepoOption,
    StateOption,
    duration_of,
)
from edgewright.cli.render.quantities import short
from edgewright.cli.workspaces import open_workspace
from edgewright.core.artifact import Action
from edgewright.core.planning.plan import Plan, step_id
from edgewright.errors import EdgewrightError, PlanRefused
from edgewright.render.plan_json import FORMAT_VERSION
from edgewright.wiring.workspace import Workspace

if TYPE_CHECKING:  # the machinery of a run is imported when one starts
    from edgewright.core.snapshot import Snapshot
    from edgewright.reconcile.accepted import AcceptedSource
    from edgewright.reconcile.reconciler import Reconciler
    from edgewright.reconcile.run import RunOptions

_EXAMPLES = "Examples: edgewright apply · edgewright apply --yes --timeout 30m · edgewright apply next.plan"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("apply", epilog=_EXAMPLES)(apply)


def apply(
    plan_file: Annotated[Path | None, typer.Argument(help="A plan saved with plan --out; single use.")] = None,
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; follow newer commits of the ref.")] = False,
    timeout: Annotated[str | None, typer.Option("--timeout", help="Stop after this long, like 30m.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try steps again that failed before.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Build steps at once.")] = 2,
    output: OutputOption = Output.TEXT,
) -> None:
    """Build, judge, package and roll out until reality matches.

    Ctrl-C and crashes leave a state that the next apply resumes. Exit codes: 0 reality matches, 1 error, 3 stopped
    by a gate, a failed step or a rejected release, 4 still waiting, 130 interrupted.
    """
    from edgewright.reconcile.run import RunOptions

    workspace = open_workspace(repo, ref=ref, state=state, env=env)
    until = workspace.clock() + duration_of("--timeout", timeout) if timeout else None
    # A plan that was saved without a look for drift is held to what it shows.
    deep = plan_file is None or _has_repairs(plan_file)
    found = current(workspace, retry=retry, deep=deep)
    if workspace.stale is not None:
        raise workspace.stale
    plan_id = _check_saved(plan_file, found) if plan_file else None
    if plan_file is None and not yes:
        show(found, PlanOutput.TEXT, stderr() if output is Output.JSON else None)
        if not found.empty:
            _ask()
    follows = yes and plan_file is None
    allowed = None if follows else frozenset(step_id(step) for step in found.steps)
    terms = RunOptions(
        allowed=allowed,
        revision=None if follows else found.commit,
        follow=follows,
        drift=deep,
        until=until,
        retry_failures=retry,
        jobs=jobs,
    )
    raise typer.Exit(_run(workspace, terms, output, plan_id))


def _run(workspace: Workspace, terms: "RunOptions", output: Output, plan_id: str | None) -> Exit:
    from edgewright.cli.progress import listener_for
    from edgewright.cli.render.outcome import exit_code, outcome_json, outcome_text

    desired = workspace.source.snapshot()
    with workspace.lease("edgewright apply") as lease, listener_for(stderr()) as listener:
        if plan_id is not None and not workspace.state.use_plan(plan_id, workspace.clock()):
            raise PlanRefused("this plan was used before", hint="look at a new one: edgewright plan --out FILE")
        source = _verified(workspace, desired)
        reconciler = workspace.reconciler(source.snapshot() if source else desired, lease, listener, source)
        with _stopping(reconciler):
            outcome = reconciler.run(terms)
    code = exit_code(outcome)
    if output is Output.JSON:
        print_json(outcome_json(outcome, code))
    else:
        for line in outcome_text(outcome):
            stdout().print(line)
    return code


def _verified(workspace: Workspace, desired: "Snapshot") -> "AcceptedSource | None":
    """Where signatures are asked for, follow only revisions that carry them.

    Raises:
        EdgewrightError: This one is refused.
    """
    from edgewright.reconcile.accepted import SIGNED, raise_for

    repository = desired.repository()
    kept = workspace.state.accepted_revision() or ""
    if (repository is None or repository.spec.verification is None) and not kept.endswith(SIGNED):
        return None
    followed = workspace.followed(workspace.upstream, lambda: None, eager=True)
    raise_for(followed.look())
    return followed


@contextmanager
def _stopping(reconciler: "Reconciler") -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run softly; a second Ctrl-C ends it at once."""

    def soft(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stderr().print("stopping; what is under way can be resumed (Ctrl-C again stops at once)", style="yellow")
        reconciler.stop()

    before = {number: signal.signal(number, soft) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_repairs(path: Path) -> bool:
    """Whether a saved plan repairs drift; what cannot be read is refused later, with the reason."""
    try:
        return any(step["action"] == Action.REPAIR for step in json.loads(path.read_bytes())["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_saved(path: Path, found: Plan) -> str:
    """Refuse a saved plan that is not what would be done now; returns its id."""
    try:
        saved = json.loads(path.read_bytes())
        keys = ("formatVersion", "commit", "observedDigest", "planId")
        version, commit, observed, plan_id = (saved[key] for key in keys)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no saved plan"
        raise PlanRefused(f"cannot read {path}: {reason}", hint="save one with: edgewright plan --out FILE") from error
    again = f"look at a new one: edgewright plan --out {path}"
    if version != FORMAT_VERSION:
        raise PlanRefused(f"{path} has format {version}; this edgewright reads {FORMAT_VERSION}", hint=again)
    if commit != found.commit:
        raise PlanRefused(f"{path} was made for commit {short(commit)}; this is {short(found.commit)}", hint=again)
    if observed != found.observed_digest:
        raise PlanRefused(f"{path} is stale: reality has changed since it was made", hint=again)
    return str(plan_id)


def _ask() -> None:
    if not sys.stdin.isatty():
        raise EdgewrightError("nobody is there to say yes", hint="add --yes, or apply a plan saved with plan --out")
    console = stderr()
    console.print("Apply this plan? [y/N]: ", end="")
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if not answer:  # Ctrl-C or the end of the input: no answer, not even an empty line
        console.print()
        raise typer.Exit(Exit.INTERRUPTED)
    if answer.strip().lower() not in {"y", "yes"}:
        raise typer.Exit(Exit.OK)
