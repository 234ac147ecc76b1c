"""Text from outside, made harmless for a terminal. Called by ``cli.console`` for everything that is printed."""

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
"""Whole sequences, so that no half of one is left: colours and cursor movements, titles and links, the rest."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor or turns the direction of writing; line ends and tabs stay."""


def plain(text: str) -> str:
    """Remove what a terminal would obey instead of show."""
    return text if text.isprintable() else _CONTROLS.sub("", _ESCAPES.sub("", text))
