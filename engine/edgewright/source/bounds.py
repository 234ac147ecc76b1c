"""Bounds on a whole revision, counted before anything of it is expanded. Called by ``trees`` and ``reading``.

A pull request brings whatever its author likes, and Git keeps a folder that is named ten times once: a few kilobytes
may stand for more files than there is memory for.
"""

from collections.abc import Callable, Iterable

from edgewright.errors import Problem, SpecError
from edgewright_schemas.names import REPOSITORY_FILE

MAX_ENTRIES = 5_000_000
"""Files and folders of a revision, each counted as often as it is named."""
MAX_SPECS = 20_000
"""``*.yaml`` and ``*.yml`` files outside hidden folders."""
MAX_LINKS = 100_000
MAX_SPEC_BYTES = 64 << 20
"""Of all spec files."""
MAX_BODY_BYTES = 256 << 20
"""Of all documents, their aliases expanded and their values filled in."""
MAX_INVENTORY_BYTES = 64 << 20
"""Of all inventories."""
_UNCOUNTED = 64
"""So many spec files are within the bound, whatever their sizes."""


def check_entries(entries: int, specs: int, links: int) -> None:
    """Refuse a folder with too much below it.

    Raises:
        SpecError: It is over a bound.
    """
    counted = (
        (entries, MAX_ENTRIES, "files and folders", "keep data outside of Git, as a source with a digest"),
        (specs, MAX_SPECS, "*.yaml and *.yml files", "divide it into several repositories"),
        (links, MAX_LINKS, "symbolic links", "commit the files instead"),
    )
    for count, most, what, hint in counted:
        if count > most:
            raise too_large(f"this revision has {count:,} {what}; {most:,} are read at most", hint)


def check_spec_bytes(blobs: Iterable[str], size: Callable[[str], int]) -> None:
    """Refuse specs that are too large together.

    Raises:
        SpecError: They are.
    """
    distinct = set(blobs)
    if len(distinct) > _UNCOUNTED and (total := sum(map(size, distinct))) > MAX_SPEC_BYTES:
        message = f"the specs of this revision have {total:,} bytes; {MAX_SPEC_BYTES:,} are read at most"
        raise too_large(message, "keep data outside of specs, or divide the repository")


def check_body_bytes(total: int) -> None:
    """Refuse documents that are too large together once they are resolved.

    Raises:
        SpecError: They are.
    """
    if total > MAX_BODY_BYTES:
        message = f"the documents of this revision have more than {MAX_BODY_BYTES:,} bytes once aliases are expanded"
        raise too_large(message, "use fewer aliases, or divide the repository")


def too_large(message: str, hint: str) -> SpecError:
    """Make the error of a revision over a bound."""
    return SpecError([Problem(REPOSITORY_FILE, 1, 1, message, hint)])
