"""Quantities in words, for the commands: those of ``edgewright.render``, which the server shares."""

from edgewright.render.quantities import bytes_text, count_text, seconds_text, short, shorten

__all__ = ["bytes_text", "count_text", "seconds_text", "short", "shorten"]
