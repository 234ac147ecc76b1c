"""Record the retail example on a terminal: ``python -m examples.demo.picture FILE.svg``, which ``make pictures`` runs.

Twelve real agents, real commands and their real output, with the colours they have on a terminal.
"""

import os
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from examples.demo.lab import Lab
from rich.console import Console
from rich.text import Text

WIDTH = 108
SHOWN = (
    (("plan",), 16),
    (("apply", "--yes"), 3),
    (("plan",), None),
    (("status", "--devices"), None),
)
"""Commands in turn, and how many lines of their output are shown; None: all."""


def coloured(lab: Lab, *arguments: str) -> str:
    """Run a command as on a terminal of ``WIDTH`` columns; returns what it printed to stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "edgewright.cli.main", *arguments],
        cwd=lab.repo,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"},
    )
    return done.stdout


def record(lab: Lab) -> str:
    """Run the commands; returns the terminal as SVG."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    for arguments, most in SHOWN:
        console.print(Text(f"$ edgewright {' '.join(arguments)}", style="bold green"))
        lines = coloured(lab, *arguments).rstrip().splitlines()
        for line in lines[:most]:
            console.print(Text.from_ansi(line), soft_wrap=True)
        if most is not None and len(lines) > most:
            console.print(Text("…", style="dim"))
        console.print()
    svg = console.export_svg(title="examples/retail: twelve lane cameras", unique_id="retail")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)  # a font of the reader's own, none from elsewhere


def main(file: Path) -> None:
    """Write the recording."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.prepare()
        lab.start_all()
        try:
            file.write_text(record(lab), "utf-8")
        finally:
            lab.stop_all()
    print(f"wrote {file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
