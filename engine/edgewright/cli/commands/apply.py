"""``edgewright apply``: make reality match the specs."""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.commands.plan import show
from edgewright.cli.console import print_error, print_json, stderr, stdout
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
from edgewright.cli.workspaces import open_workspace
from edgewright.core.planning.plan import step_id
from edgewright.errors import EdgewrightError
from edgewright.services import plans

if TYPE_CHECKING:  # the machinery of a run is imported when one starts
    from edgewright.core.address import Address
    from edgewright.core.status.results import Results
    from edgewright.services.runs import Run, RunEnvironment, RunOptions

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
    from edgewright.services.runs import RunOptions

    workspace = open_workspace(repo, ref=ref, state=state, env=env)
    until = workspace.clock() + duration_of("--timeout", timeout) if timeout else None
    saved = plans.read_saved(plan_file) if plan_file else None
    # A plan that was saved without a scan for drift is held to what it shows.
    drift = saved is None or saved.has_repairs
    found = plans.current_plan(workspace, retry_failures=retry, drift=drift)
    if workspace.stale is not None:
        raise workspace.stale
    if saved is not None:
        saved.check(found)
    elif not yes:
        show(found, PlanOutput.TEXT, stderr() if output is Output.JSON else None)
        if not found.empty:
            _ask()
    follows = yes and saved is None
    options = RunOptions(
        allowed=None if follows else frozenset(step_id(step) for step in found.steps),
        revision=None if follows else found.commit,
        follow=follows,
        drift=drift,
        until=until,
        retry_failures=retry,
        jobs=jobs,
    )
    raise typer.Exit(_run(workspace, options, output, saved.plan_id if saved else None))


def _run(workspace: "RunEnvironment", options: "RunOptions", output: Output, plan_id: str | None) -> Exit:
    from edgewright.cli.progress import listener_for
    from edgewright.cli.render.outcome import exit_code, outcome_text
    from edgewright.render.status_json import run_json
    from edgewright.services.runs import open_run

    with open_run(workspace, lambda: listener_for(stderr()), plan_id=plan_id) as run, _stopping(run):
        result = run.run(options)
    code = exit_code(result)
    if output is Output.JSON:
        print_json(run_json(result, code, _results(workspace)))
    else:
        for line in outcome_text(result):
            stdout().print(line)
    return code


def _results(workspace: "RunEnvironment") -> "Mapping[Address, Results]":
    """Return the results of datasets and models; nothing where the specs cannot be read any more."""
    from edgewright.services.status import all_results

    try:
        return all_results(workspace)
    except EdgewrightError as error:
        print_error(error, is_warning=True)
        return {}


@contextmanager
def _stopping(run: "Run") -> Iterator[None]:
    """End the run softly on Ctrl-C and SIGTERM; a second Ctrl-C ends it at once."""

    def soft(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stderr().print("stopping; what is under way can be resumed (Ctrl-C again stops at once)", style="yellow")
        run.stop()

    before = {number: signal.signal(number, soft) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask() -> None:
    """Ask a person to confirm.

    Raises:
        EdgewrightError: The input is no terminal.
    """
    if not sys.stdin.isatty():
        raise EdgewrightError(
            "a plan must be confirmed, and the input is no terminal",
            hint="add --yes, or apply a plan saved with plan --out",
        )
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
