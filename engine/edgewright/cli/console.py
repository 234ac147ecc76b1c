"""Consoles: results go to stdout, progress and logs to stderr; colours only on terminals."""

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from edgewright.cli.render.plain import plain
from edgewright.errors import EdgewrightError, SpecError

_PIPED_WIDTH = 500


class _Plain(Console):
    """Prints strings as they are, without markup; and neither strings nor texts command the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a string, also one in a table's cell, into text."""
        return super().render_str(plain(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print strings, texts and tables."""
        super().print(*(self._cleaned(part) if isinstance(part, Text) else part for part in objects), **options)

    def _cleaned(self, text: Text) -> Text:
        if plain(text.plain) == text.plain:
            return text
        pieces = text.render(self)
        return Text.assemble(*((plain(piece.text), piece.style or "") for piece in pieces))


def stdout() -> Console:
    """For results. Piped, it neither colours nor wraps nor cuts."""
    return _Plain(markup=False, highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


def stderr() -> Console:
    """For progress and errors."""
    return _Plain(stderr=True, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Write JSON to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_list(values: Iterable[Any]) -> None:
    """Write a list as ``print_json`` would, with one value in memory at a time; nothing before all are there."""
    lines = [json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n  ") for value in values]
    sys.stdout.write("[\n  " + ",\n  ".join(lines) + "\n]\n" if lines else "[]\n")


def print_warning(message: str) -> None:
    """Write a warning to stderr."""
    stderr().print(message, style="yellow")


def print_error(error: EdgewrightError, *, is_warning: bool = False) -> None:
    """Write an error for people: every problem, then what to do; as a warning where the command goes on without."""
    colour = "yellow" if is_warning else "red"
    console = stderr()
    if isinstance(error, SpecError):
        for problem in error.problems:
            console.print(str(problem))
        count = len(error.problems)
        console.print(f"{count} problem{'' if count == 1 else 's'} found", style=f"bold {colour}")
        return
    console.print(f"{'warning' if is_warning else 'error'}: {error.message}", style=colour)
    if error.hint:
        for line in error.hint.splitlines():
            console.print(f"  {line}")
