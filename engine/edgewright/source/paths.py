"""Paths that specs name: normalised, and kept inside the repository. Called by everything in ``source``."""

import re

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|::)")


class PathRefused(ValueError):
    """A path that may lead out of the repository; the text says why, ``hint`` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def is_url(text: str) -> bool:
    """Return whether a text is a URL (``s3://…``, ``file:///…``, chained fsspec ``zip::…``), not a repository path."""
    return bool(_URL.match(text))


def normalise(path: str) -> str:
    """Normalise a repository path: no ``./``, no trailing ``/``; the root is the empty string.

    Raises:
        PathRefused: It is absolute, climbs with ``..``, or is no POSIX path.
    """
    if path.startswith("/") or _DRIVE.match(path):
        raise PathRefused(f"{path!r} is an absolute path", "name files by their path below the repository's root")
    if "\\" in path or "\0" in path:
        raise PathRefused(f"{path!r} is no POSIX path", "separate folders with /")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise PathRefused(f"{path!r} contains '..'", "name files by their path below the repository's root")
    return "/".join(parts)
