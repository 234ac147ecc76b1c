"""``edgewright devices``: which devices there are, what each runs, and who is let in."""

import typer

from edgewright.cli.commands.devices import admitting, certificates, enrolling, listing, tokens

_HELP = "Devices: what each runs, and who is let in."


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    app = typer.Typer(help=_HELP, no_args_is_help=True)
    app.callback()(_devices)
    for module in (listing, admitting, enrolling, tokens, certificates):
        module.register(app)
    parent.add_typer(app, name="devices")


def _devices() -> None:
    pass
