"""Draw the layers of ``.importlinter`` as text: ``python tests/layers.py`` renews the figure in CONTRIBUTING.md."""

import configparser
import re
from pathlib import Path

from paths import ROOT

DOCUMENT = ROOT / "CONTRIBUTING.md"
_BEGIN, _END = "<!-- layers -->\n", "<!-- /layers -->"
_CONTRACTS = {"layers": "engine", "core-rooms": "core", "source-rooms": "source", "delivery-rooms": "delivery"}
"""Contracts that are drawn, and what they are called in the figure."""


def figure(importlinter: str) -> str:
    """Return the layers of each contract, the uppermost first; what stands in one row is separated by ``│``.

    Args:
        importlinter: The text of ``.importlinter``.
    """
    parser = configparser.ConfigParser()
    parser.read_string(importlinter)
    drawn = []
    for contract, title in _CONTRACTS.items():
        rows = parser[f"importlinter:contract:{contract}"]["layers"].strip().splitlines()
        names = [[_short(name) for name in re.split(r"[|:]", row)] for row in rows]
        drawn += [f"{title}:", *(f"    {' │ '.join(row)}" for row in names), ""]
    return "\n".join(["```", *drawn[:-1], "```", ""])


def renewed(document: str, importlinter: str) -> str:
    """Return the document with the figure between its markers drawn anew.

    Raises:
        ValueError: A marker is missing.
    """
    before, rest = document.split(_BEGIN, 1)
    _, after = rest.split(_END, 1)
    return f"{before}{_BEGIN}{figure(importlinter)}{_END}{after}"


def _short(name: str) -> str:
    name = name.strip()
    return name.rsplit(".", 1)[-1] if name.startswith("edgewright.") else name


def _read(path: Path) -> str:
    return path.read_text("utf-8")


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(_read(DOCUMENT), _read(ROOT / ".importlinter")), "utf-8")
