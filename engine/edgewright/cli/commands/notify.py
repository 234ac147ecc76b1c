"""``edgewright notify``: test the receivers of notifications."""

from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Exit, Output, OutputOption, RefOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace

app = typer.Typer(help="Test the receivers of notifications.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="notify")


@app.callback()
def _notify() -> None:
    pass


@app.command("test", epilog="Example: edgewright notify test ops")
def test_receivers(
    name: Annotated[str | None, typer.Argument(help="Only this receiver.", show_default="all of them")] = None,
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send a test notification to the receivers that edgewright.yaml declares, and show how it went.

    Their limits and filters do not count, and history is left alone. Ends with 1 if any could not be reached.
    """
    from edgewright.services.receivers import send_test

    problems = send_test(open_workspace(repo, ref=ref, state=state, env=env), name)
    if output is Output.JSON:
        print_json(
            [
                {"receiver": receiver, "sent": problem is None, "problem": str(problem) if problem else None}
                for receiver, problem in problems.items()
            ]
        )
    else:
        for receiver, problem in problems.items():
            stdout().print(f"{receiver}: sent" if problem is None else f"{receiver}: not sent: {problem}")
    raise typer.Exit(Exit.ERROR if any(problems.values()) else Exit.OK)
