"""Text from outside, made harmless inside Markdown: it shows as it is and does nothing.

What specs, pull requests and errors say cannot leave its table cell, ping people, refer to issues, become a link, an
image or HTML, or end a comment. Used by the reports; needs no template engine.
"""

import re
from collections.abc import Iterable

_LONGEST = 600
"""Characters of one text that are shown."""
_BLANKS = re.compile(r"[\s\x85\u2028\u2029]+")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""What moves the cursor, turns the direction of writing or cannot be seen at all."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*\[\]{}|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_BEGINS = re.compile(r"^\s*(?=[#=/]|[+-](?:[\s-]|$))|^\s*\d+(?=[.)](?:\s|$))")
"""What at the start of a line would be a heading, a list, a rule, or an order to the forge."""
_JOINED = "\u200b"
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=@)|(?<=[#!%])(?=\w)|(?i:(?<=www)(?=\.))|(?<=GH-)(?=\d)")
"""Where forges see a link, a person or an issue; a blank nobody sees goes there."""
_NO_CODE = re.compile(r"[`|<>&@]")


class Markdown(str):
    """Text that is Markdown already; everything else is made inert when a report shows it."""

    __slots__ = ()


def inert(text: object) -> Markdown:
    """Make text show as it is, on one line."""
    shown = _plain(text)
    shown = re.sub(r"[&<>]", lambda found: _ENTITIES[found[0]], shown)
    shown = _LINKS.sub(_JOINED, shown)
    shown = _MARKS.sub(lambda found: f"\\{found[0]}", shown)
    return Markdown(_BEGINS.sub(lambda found: f"{found[0]}\\", shown))


def code(text: object) -> Markdown:
    """Make text show as code; as ordinary text where code could not hold it."""
    shown = _plain(text).strip()
    if not shown or _NO_CODE.search(shown):
        return inert(text)
    return Markdown(f"`{shown}`")


def join(parts: Iterable[object], between: str) -> Markdown:
    """Put texts together; those that are not Markdown yet become inert."""
    return Markdown(between.join(finished(part) for part in parts))


def finished(value: object) -> Markdown:
    """Leave Markdown as it is, and make everything else inert."""
    return value if isinstance(value, Markdown) else inert(value)


def _plain(text: object) -> str:
    shown = _UNSEEN.sub("", _BLANKS.sub(" ", str(text)))
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
