"""The ``edgewright`` command: assembles the commands and turns errors into messages and exit codes."""

import gc
import os
import signal
import sys
from typing import Annotated

import typer

from edgewright import __version__
from edgewright.cli.catalogue import Catalogue
from edgewright.cli.options import Exit, json_is_wanted
from edgewright.cli.resources import RESOURCES
from edgewright.errors import EdgewrightError

_OBJECTS_BETWEEN_COLLECTIONS = 250_000

app = typer.Typer(
    name="edgewright",
    cls=Catalogue,
    help="GitOps for edge ML: a Git repository declares datasets, models, thresholds, fleets and rollouts; "
    "edgewright makes reality match.",
    epilog="Start with: edgewright init my-fleet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"edgewright {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line; the console script's entry point."""
    # Most commands are over before a collection frees anything; at 1,000 resources it is a quarter of a plan's time.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # Looking for pydantic plugins reads the metadata of every distribution installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with RESOURCES:
            app()
    except EdgewrightError as error:
        from edgewright.cli.console import print_error, print_json

        print_error(error)
        if json_is_wanted():
            from edgewright.render.status_json import error_json

            print_json({"error": error_json(error)})
        sys.exit(Exit.ERROR)
    except BrokenPipeError:
        # Whoever read our output has gone; point stdout elsewhere so that the interpreter's flush stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    finally:
        # The system takes all memory back at once; the interpreter would look through it for garbage first.
        gc.freeze()


if __name__ == "__main__":
    run()
