"""Tables for people: nothing in them is ever cut. Called by the commands that list things."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgewright.cli.render.plain import plain

_UNBOUNDED = 100_000
_GAP = 2
"""Blanks between columns."""
_AT_ONCE = 500
"""Lines that are handed to the console together: it keeps several copies of what it prints."""
_NARROWEST = 8
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
    if not console.is_terminal:
        lines = [tuple(map(str, row)) for row in rows]
        if not any("\n" in text or "\t" in text for text in map("".join, lines)):
            _print_whole(console, headings, lines)
            return
        rows = lines
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading in whole, overflow="fold")
    for row in rows:
        table.add_row(*row)
    if console.is_terminal:
        _fit(table, console)
    for line in console.render_lines(table, console.options.update(width=_UNBOUNDED), pad=False):
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()
        console.print(text)


def _print_whole(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print every row on one line, as the table would, in a tenth of the time: there may be ten thousand rows."""
    lines = [row if "".join(row).isprintable() else tuple(map(plain, row)) for row in (tuple(headings), *rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    gap = " " * _GAP
    for some in _batched((gap.join(_padded(line, widths)).rstrip() for line in lines), _AT_ONCE):
        # Not by the console, which would divide the lines, which hold no markup, into words to put them together again.
        console.file.write("\n".join(some) + "\n")
    console.file.flush()


def _padded(line: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    """Fill cells up to the width of their column."""
    if "".join(line).isascii():
        return map(str.ljust, line, widths)
    return (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))


def _width(cell: str) -> int:
    """Measure a cell; of one in ASCII, each character takes one column."""
    return len(cell) if cell.isascii() else cell_len(cell)


def _batched(lines: Iterable[str], count: int) -> Iterator[list[str]]:
    """Divide lines into parts of at most so many."""
    remaining = iter(lines)
    while some := list(islice(remaining, count)):
        yield some


def _fit(table: Table, console: Console) -> None:
    """Fold columns so that the table fits: between words if that is enough, else anywhere."""
    unbounded = console.options.update(width=_UNBOUNDED)
    sizes = [
        [console.measure(cell, options=unbounded) for cell in (column.header, *column.cells)]
        for column in table.columns
    ]
    natural = [max(size.maximum for size in cells) for cells in sizes]
    words = [max(size.minimum for size in cells) for cells in sizes]
    room = console.width - _GAP * (len(natural) - 1)
    for narrowest in (words, [min(word, _NARROWEST) for word in words]):
        least = [
            full if column.no_wrap else min(full, fold)
            for column, full, fold in zip(table.columns, natural, narrowest, strict=True)
        ]
        if sum(least) <= room:
            break
    spare = max(0, room - sum(least))
    by_want = sorted(range(len(natural)), key=lambda i: natural[i] - least[i])
    for left, i in zip(range(len(by_want), 0, -1), by_want, strict=True):
        more = min(natural[i] - least[i], spare // left)
        table.columns[i].width = least[i] + more
        spare -= more
