"""Cached form of a revision's documents and digests, and a document's typed form.

Light enough for a load that finds everything in the cache. Called by ``assemble``, ``reading`` and ``load``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgewright.core.address import Address
from edgewright_schemas.kinds import KINDS, Document

UNKNOWN_KIND = "?"
"""Stands for the kind of a document that cannot be told."""


class Row(NamedTuple):
    """A valid document as it is cached."""

    kind: str
    name: str
    path: str
    line: int
    column: int
    blob: str
    body: str
    overlays: Sequence[Sequence[Any]] = ()
    """Of (path, line, column, blob id): the overlay documents that were merged into it, in order."""

    @property
    def address(self) -> Address:
        """Its address."""
        return Address(self.kind.lower(), self.name)


class Content(NamedTuple):
    """The cached content of a root folder's id."""

    rows: Sequence[Sequence[Any]]
    """Of Row."""
    code: Mapping[str, str]
    code_files: Mapping[str, Sequence[str]]
    content: Mapping[str, str]
    inventories: Mapping[str, str]
    """Blob ids by path."""


def typed(kind: str, body: str) -> Document:
    """Build the typed document from its JSON.

    Raises:
        ValidationError: It is not valid; a body that ``load_file`` returned always is.
    """
    return KINDS[kind].model_validate_json(body, strict=True)
