"""Tables for people: nothing in them is ever cut. Called by the commands that list things."""

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 100_000
_GAP = 2
"""Blanks between columns."""
_NARROWEST = 6
"""Columns a folding cell keeps; below that the table is wider than the terminal instead."""


def print_table(
    console: Console, headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, whole: Collection[str]
) -> None:
    """Print a table without blanks at the ends of lines.

    Args:
        console: Where to. One that is no terminal gets every row on one line.
        headings: One for each column.
        rows: Cells, as many as headings.
        whole: Headings of the columns that stay on one line, like ids; the others fold on a narrow terminal.
    """
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading in whole, overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = _UNBOUNDED
    if console.is_terminal:
        natural = [
            max(console.measure(cell).maximum for cell in (column.header, *column.cells)) for column in table.columns
        ]
        least = [w if c.no_wrap else min(w, _NARROWEST) for w, c in zip(natural, table.columns, strict=True)]
        width = max(console.width, sum(least) + _GAP * (len(least) - 1))
    for line in console.render_lines(table, console.options.update(width=width), pad=False):
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()
        console.print(text)
