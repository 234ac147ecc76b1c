"""``edgewright dataset``: look into datasets."""

import typer

from edgewright.cli.commands.dataset import preview


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    app = typer.Typer(help="Look into datasets.", no_args_is_help=True)
    app.callback()(_dataset)
    preview.register(app)
    parent.add_typer(app, name="dataset")


def _dataset() -> None:
    pass
