"""Commands by name; each is imported when it is called, so that ``--help`` and ``plan`` pay for no other.

A command is the module of its name below ``commands``; its ``register`` adds it to an app. Used by ``main``.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

SUMMARIES: Mapping[str, str] = {
    "init": "Write a working spec repository: a dataset, a model, thresholds, four devices and a rollout.",
    "validate": "Check every spec and report all problems as file:line:column.",
    "plan": "Show what apply would do: what is built, trained and rolled out, and why.",
    "preview": "Write what merging a pull request would do, as the comment the controller would write.",
    "apply": "Build, judge, package and roll out until reality matches.",
    "status": "Show every resource with its condition, and for rollouts how many devices are verified.",
    "show": "Show what was found in a dataset or measured of a model: rows, figures, slices, confusion, gates.",
    "dataset": "Look into datasets.",
    "explain": "Explain why steps of one resource would or would not run: each part of a fingerprint that changed, "
    "old → new.",
    "history": "Show what was built, judged, rolled out and returned, newest first.",
    "watch": "Plan uncommitted edits on every save, until Ctrl-C.",
    "inspect": "Show inputs, outputs and operators of an ONNX file, and an interface to paste into a Model.",
    "serve": "Follow Git and keep reality equal to it: every environment, with webhooks, previews and devices.",
    "workflow": "Print a CI file that previews pull requests: no server needed, no secrets for forks.",
    "schema": "Print the JSON Schema of one kind, for editors and other tools.",
    "gc": "Remove artifacts that neither the current commit, a champion, a device nor a rollout refers to.",
    "rollout": "Show and control rollouts.",
    "devices": "List devices and what each runs, and admit, enroll or retire them.",
    "notify": "Test the receivers of notifications.",
}
"""What the list of commands says of each, in its order: the first sentence of the command's own help."""


def load(name: str) -> Any:
    """Import a command, ready to be called.

    Raises:
        KeyError: There is no such command.
    """
    app = typer.Typer(pretty_exceptions_enable=False)
    import_module(f"edgewright.cli.commands.{name}").register(app)
    command = get_group(app).commands[name]
    _join_lines(command)
    return command


def _join_lines(command: Any) -> None:
    """Join the lines of each paragraph of the help; the width of the source is not the width of the terminal."""
    if command.help:
        command.help = "\n\n".join(" ".join(part.split()) for part in command.help.split("\n\n"))
    for below in getattr(command, "commands", {}).values():
        _join_lines(below)


class Catalogue(TyperGroup):
    """Lists commands by their summaries, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in SUMMARIES.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments call."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name is not None else command, rest
