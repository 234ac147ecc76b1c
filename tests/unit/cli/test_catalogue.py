"""The list of commands: it says of each what the command says of itself, and imports none of them."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from edgewright.cli.catalogue import SUMMARIES, load


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_is_the_first_sentence_of_the_commands_help(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.help.partition("\n\n")[0] == SUMMARIES[name]


def commands_below(command: Any) -> Iterator[Any]:
    """Yield a command, and all below it."""
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from commands_below(below)


@pytest.mark.parametrize("name", SUMMARIES)
def test_only_the_terminal_wraps_a_paragraph_of_help(name: str) -> None:
    for command in commands_below(load(name)):
        assert all("\n" not in paragraph for paragraph in command.help.split("\n\n")), command.name


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        ("['--help']", {"edgewright.cli.commands", "pydantic", "git"}),
        ("['plan', '--help']", {"edgewright.cli.commands.apply", "sqlalchemy", "torch", "tuf", "pyarrow", "jinja2"}),
    ],
)
def test_help_imports_nothing_it_does_not_show(arguments: str, spared: set[str]) -> None:
    program = f"import sys; sys.argv[1:] = {arguments}\nfrom edgewright.cli.main import run\ntry: run()\n"
    program += f"except SystemExit: print(sorted(sys.modules.keys() & {spared!r}), file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "[]"
