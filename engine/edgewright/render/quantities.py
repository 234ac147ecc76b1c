"""Quantities in words: bytes, durations, digests, counts."""


def bytes_text(count: int | None) -> str:
    """Write a number of bytes: ``182 KiB``; unknown ones as such."""
    if count is None:
        return "size known after apply"
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def seconds_text(seconds: float) -> str:
    """Write a duration: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def short(digest: str) -> str:
    """Shorten a digest or commit to what people compare."""
    return digest.removeprefix("sha256:").removeprefix("git:")[:12]


def shorten(text: str | None, width: int = 48) -> str:
    """Shorten a component's value for one line; digests to twelve digits."""
    if text is None:
        return "(none)"
    if text.startswith(("sha256:", "git:")):
        return short(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def count_text(count: int, noun: str) -> str:
    """Write ``1 device``, ``12 devices``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
