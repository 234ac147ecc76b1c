"""Suggestions of a known name for a misspelt one. Called by ``source`` and ``cli`` when they report problems."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name closest to ``name``; None when nothing is close."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    found = get_close_matches(name.lower(), sorted(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def suggestion(name: str, known: Iterable[str], *, limit: int = 8) -> str:
    """Write the hint that goes with an unknown name: the nearest known one, or else all of them if they are few."""
    names = sorted(set(known))
    close = nearest(name, names)
    if close is not None:
        return f"did you mean {close}?"
    if not names:
        return ""
    shown = ", ".join(names[:limit])
    return f"known: {shown}, …" if len(names) > limit else f"known: {shown}"
