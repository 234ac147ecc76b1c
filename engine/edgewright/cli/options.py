"""Options that several commands share, and the exit codes."""

from contextvars import ContextVar
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import Annotated, TypeVar

import typer

from edgewright.errors import EdgewrightError


class Exit(IntEnum):
    """The exit codes."""

    OK = 0
    ERROR = 1
    CHANGES = 2
    """``plan --detailed-exitcode``: there is something to do. (A wrong command line ends with 2 as well.)"""
    BLOCKED = 3
    """``apply``: a gate, a failed step or a rejected release stands in the way; the specs must change."""
    WAITING = 4
    """``apply``: time, devices or a person are waited for; apply again to go on."""
    INTERRUPTED = 130


class Output(StrEnum):
    """Formats of results."""

    TEXT = "text"
    JSON = "json"


class PlanOutput(StrEnum):
    """Formats of plans."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


RepoOption = Annotated[
    str,
    typer.Option("--repo", help="The spec repository: a path or a URL.", show_default="here", rich_help_panel="Where"),
]
HERE = "."
EnvOption = Annotated[
    str | None,
    typer.Option(
        "--env",
        help="One of the environments that edgewright.yaml declares.",
        envvar="EDGEWRIGHT_ENV",
        show_default=False,
        rich_help_panel="Where",
    ),
]
RefOption = Annotated[
    str | None,
    typer.Option("--ref", help="Branch, tag or commit to read.", show_default="HEAD", rich_help_panel="Where"),
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        help="Folder for state, blobs and keys; or the URL of a database for the state alone: the rest is then in "
        "the default folder, or in $EDGEWRIGHT_HOME.",
        show_default=".edgewright in the repository",
        envvar="EDGEWRIGHT_STATE",
        rich_help_panel="Where",
    ),
]
WorktreeOption = Annotated[
    bool, typer.Option("--worktree", help="Read uncommitted edits instead of a commit.", rich_help_panel="Where")
]
DriftOption = Annotated[
    bool, typer.Option("--drift", help="Also look whether devices, published files and stored blobs have drifted.")
]
_Format = TypeVar("_Format", bound=StrEnum)
_OUTPUT: ContextVar[str] = ContextVar("output", default="text")


def note_output(wanted: _Format) -> _Format:
    """Keep which format is asked for: an error is written in it too."""
    _OUTPUT.set(wanted.value)
    return wanted


def json_is_wanted() -> bool:
    """Return whether this command's result is asked for as JSON."""
    return _OUTPUT.get() == Output.JSON.value


OutputOption = Annotated[Output, typer.Option("-o", "--output", callback=note_output, help="How to write the result.")]

PlanOutputOption = Annotated[
    PlanOutput, typer.Option("-o", "--output", callback=note_output, help="How to write the plan.")
]


def duration_of(option: str, text: str, *, least: timedelta = timedelta()) -> timedelta:
    """Read what a person wrote as a duration, like ``30m``.

    Raises:
        EdgewrightError: It is none, or too short.
    """
    from edgewright_schemas.base import format_duration, parse_duration

    try:
        value = parse_duration(text)
    except ValueError as error:
        raise EdgewrightError(f"{option} {text}: {error}") from error
    assert isinstance(value, timedelta)
    if value < least:
        raise EdgewrightError(f"{option} {text} is too short", hint=f"give at least {format_duration(least)}")
    return value
