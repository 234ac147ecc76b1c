"""How the demos tell their stories: claims that are checked, and the table of them at the end."""

import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise

from rich.console import Console
from rich.table import Table

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True)
class Claim:
    """Something the demo promises, and what was seen."""

    story: str
    what: str
    seen: str
    held: bool


@dataclass
class Telling:
    """What was told so far."""

    claims: list[Claim] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _story: str = ""
    _since: dict[str, float] = field(default_factory=dict)

    def begin(self, title: str) -> None:
        """Head a story."""
        self._story = title.split(" ", 1)[0]
        self._since[self._story] = time.monotonic()
        console.rule(f"[bold]{title}", align="left")

    def claim(self, what: str, seen: str, held: bool) -> bool:
        """Write a promise down with what was seen."""
        self.claims.append(Claim(self._story, what, seen, held))
        console.print(f"  [{'green' if held else 'red'}]{'✓' if held else '✗'}[/] {what}: {seen}")
        return held

    def show(self, text: str) -> None:
        """Show what a program printed."""
        console.print(text.rstrip(), markup=False)

    def summary(self) -> int:
        """Draw the table at the end; the exit code: 0 when every claim held."""
        seconds = time.monotonic() - self.began
        table = Table(title=f"What was claimed and what was seen, in {seconds:.0f} s", title_justify="left")
        for heading in ("", "story", "claim", "seen"):
            table.add_column(heading)
        for claim in self.claims:
            table.add_row("[green]✓[/]" if claim.held else "[red]✗[/]", claim.story, claim.what, claim.seen)
        console.print(table)
        times = [*self._since.values(), time.monotonic()]
        took = [
            f"{story}: {after - before:.0f} s"
            for story, (before, after) in zip(self._since, pairwise(times), strict=True)
        ]
        console.print(f"Each story took  {', '.join(took)}")
        return 0 if self.claims and all(claim.held for claim in self.claims) else 1
