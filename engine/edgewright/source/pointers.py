"""Git LFS pointers: small files that stand for large ones kept elsewhere. Called by ``trees`` and ``load``."""

from edgewright.errors import SourceError

_START = b"version https://git-lfs.github.com/spec/v1\n"
_MAX_BYTES = 1024
"""A pointer is never larger, says its specification (github.com/git-lfs/git-lfs, docs/spec.md)."""
HINT = "edgewright reads what Git holds: commit the file itself, or name it by its URL (git lfs migrate export)"


def is_pointer(data: bytes) -> bool:
    """Return whether data is a pointer."""
    return len(data) <= _MAX_BYTES and data.startswith(_START)


def refuse_pointer(path: str, data: bytes) -> bytes:
    """Return the bytes as they are, unless they are a pointer.

    Raises:
        SourceError: They are.
    """
    if is_pointer(data):
        raise SourceError(f"{path} is a Git LFS pointer; the file itself is not in Git", hint=HINT)
    return data
