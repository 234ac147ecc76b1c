"""``edgewright devices``: devices, what each runs, and their admission."""

import typer

from edgewright.cli.commands.devices import admitting, certificates, enrolling, listing, tokens

_HELP = "List devices and what each runs, and admit, enroll or retire them."


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    app = typer.Typer(help=_HELP, no_args_is_help=True)
    app.callback()(_devices)
    for module in (listing, admitting, enrolling, tokens, certificates):
        module.register(app)
    parent.add_typer(app, name="devices")


def _devices() -> None:
    pass
