"""Mark and sweep over the blob store. ``edgewright gc`` calls it with what ``retention`` says is referenced."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from edgewright.blobs.file_store import StoredBlob

MIN_AGE = timedelta(hours=1)
"""A running apply stores blobs before it records what they belong to; younger blobs are therefore left alone."""


class Sweepable(Protocol):
    """A store that can list and remove its blobs."""

    def stored(self) -> Iterable[StoredBlob]:
        """List the blobs."""
        ...

    def delete(self, digest: str) -> None:
        """Remove one."""
        ...


@dataclass(frozen=True, slots=True)
class Swept:
    """Result of a sweep: what it removed, or would remove."""

    blobs: tuple[StoredBlob, ...]
    kept: int
    """Blobs that stay."""
    young: int
    """Of those, blobs that nothing refers to but that are too young to be judged."""

    @property
    def bytes(self) -> int:
        """Size of what was removed."""
        return sum(blob.size for blob in self.blobs)


def mark(stored: Iterable[StoredBlob], referenced: Set[str], now: datetime, min_age: timedelta = MIN_AGE) -> Swept:
    """Choose the blobs that nothing refers to and that are old enough."""
    newest = (now - min_age).timestamp()
    unreferenced, kept, young = [], 0, 0
    for blob in stored:
        if blob.digest in referenced:
            kept += 1
        elif blob.modified > newest:
            kept += 1
            young += 1
        else:
            unreferenced.append(blob)
    return Swept(tuple(unreferenced), kept, young)


def sweep(
    store: Sweepable, referenced: Set[str], now: datetime, *, min_age: timedelta = MIN_AGE, dry_run: bool = False
) -> Swept:
    """Remove the blobs that nothing refers to.

    Forget the artifacts that are not kept before this: a crash in between then leaves blobs too many, never too few.

    Args:
        store: Where the blobs are.
        referenced: Digests that stay.
        now: The time, aware.
        min_age: Younger blobs stay.
        dry_run: Say what would be removed, and remove nothing.

    Raises:
        StateError: The store cannot be written.
    """
    marked = mark(store.stored(), referenced, now, min_age)
    if not dry_run:
        for blob in marked.blobs:
            store.delete(blob.digest)
    return marked
