"""``edgewright watch``: plan again on every save."""

import signal
import threading

import typer

from edgewright.cli.commands.plan import show
from edgewright.cli.console import print_error, stderr
from edgewright.cli.options import HERE, EnvOption, PlanOutput, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.errors import EdgewrightError
from edgewright.services.plans import current_plan

_DEBOUNCE_SECONDS = 0.2


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch", epilog="Example: edgewright watch --repo my-fleet")(watch)


def watch(repo: RepoOption = HERE, state: StateOption = None, env: EnvOption = None) -> None:
    """Plan uncommitted edits on every save, until Ctrl-C."""
    watched = open_workspace(repo, state=state, env=env)
    ended = threading.Event()
    one_at_a_time = threading.Lock()

    def again(_: frozenset[str] = frozenset()) -> None:
        with one_at_a_time:
            try:
                show(current_plan(open_workspace(repo, worktree=True, state=state, env=env)), PlanOutput.TEXT)
            except EdgewrightError as error:
                print_error(error)
            stderr().print("watching; Ctrl-C ends", style="dim")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with watched.watch(again, debounce=_DEBOUNCE_SECONDS):
        again()  # after watching has begun, so that no save falls between
        ended.wait()
