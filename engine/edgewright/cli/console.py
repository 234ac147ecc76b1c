"""Where text goes: results to stdout, progress and logs to stderr; colours only on terminals."""

import json
import sys
from typing import Any

from rich.console import Console

from edgewright.errors import EdgewrightError, SpecError

_PIPED_WIDTH = 500


def stdout() -> Console:
    """For results. Piped, it neither colours nor wraps nor cuts."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


def stderr() -> Console:
    """For progress and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Write JSON to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_error(error: EdgewrightError) -> None:
    """Write an error for people: every problem, then what to do."""
    console = stderr()
    if isinstance(error, SpecError):
        for problem in error.problems:
            console.print(str(problem), markup=False)
        count = len(error.problems)
        console.print(f"{count} problem{'' if count == 1 else 's'} found", style="bold red")
        return
    console.print(f"error: {error.message}", style="red", markup=False)
    if error.hint:
        for line in error.hint.splitlines():
            console.print(f"  {line}", markup=False)
