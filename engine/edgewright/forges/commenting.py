"""The one comment of a pull request: found by its marker and its author, edited in place, never doubled.

A comment of somebody else that holds the marker is left alone: a quote of ours, or a forgery. Two that create at the
same time both look again afterwards, keep the oldest and delete the others. Every call may be repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgewright.errors import ForgeError, ForgeUnavailable
from edgewright.ports import Comment


@dataclass(frozen=True, slots=True)
class Note:
    """A comment as it is there."""

    id: int
    body: str
    url: str


class Notes(Protocol):
    """The comments of one pull request that the token's own user wrote."""

    def own(self) -> Sequence[Note]:
        """All of them."""
        ...

    def create(self, body: str) -> Note:
        """Write one. Not repeatable."""
        ...

    def edit(self, note: int, body: str) -> Note | None:
        """Write one anew; None when it has gone."""
        ...

    def delete(self, note: int) -> None:
        """Remove one; fine when it has gone."""
        ...


def find(notes: Notes, marker: str) -> str | None:
    """The body of the first with the marker."""
    found = _marked(notes, marker)
    return found[0].body if found else None


def put(notes: Notes, marker: str, body: str, *, limit: int, forge: str) -> Comment:
    """Make the comment with the marker say this.

    Raises:
        ForgeError: It is too long, has no marker, or the forge refuses.
        ForgeUnavailable: The forge does not answer; put it again.
    """
    if len(body) > limit:
        raise ForgeError(
            f"a comment of {len(body)} characters is too long: {forge} takes {limit}",
            hint="shorten it, and link the rest",
        )
    if not marker or marker not in body:
        raise ForgeError("the comment does not contain its marker, so it could not be found again")
    found = _marked(notes, marker)
    if not found:
        created = notes.create(body)
        found = _marked(notes, marker) or [created]
    kept, *younger = found
    if not _same(kept.body, body):
        edited = notes.edit(kept.id, body)
        if edited is None:
            raise ForgeUnavailable("the comment was removed while it was written", hint="put it again")
        kept = edited
    for note in younger:
        notes.delete(note.id)
    return Comment(id=str(kept.id), url=kept.url)


def _marked(notes: Notes, marker: str) -> list[Note]:
    return sorted((note for note in notes.own() if marker in note.body), key=lambda note: note.id)


def _same(there: str, wanted: str) -> bool:
    """Forges may change line ends, and drop white space at the end."""
    return there.replace("\r\n", "\n").rstrip() == wanted.replace("\r\n", "\n").rstrip()
