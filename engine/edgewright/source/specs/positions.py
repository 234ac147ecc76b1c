"""Locate a document's fields in its file or in an overlay.

Called by ``reading`` only when there is something to complain about, so that what is cached of valid files need not
hold positions; and by ``resolving`` for the overlays that it merges.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edgewright.source.specs.overlays import merged
from edgewright.source.specs.yaml_nodes import Node, read_documents


class Written(NamedTuple):
    """Start of a document, or of an overlay's part of one."""

    path: str
    line: int
    column: int
    blob: str = ""
    """Git blob id of the file."""


class Positions:
    """Finds lines and columns; every file is read at most once."""

    def __init__(self, read: Callable[[str, str], bytes]) -> None:
        """Read files through ``read``, which takes a path and a blob id."""
        self._read = read
        self._files: dict[tuple[str, str], list[Node]] = {}

    def root(self, path: str, blob: str, line: int | None) -> Node | None:
        """Find the document that starts at ``line``; without a line, the file's first."""
        if (path, blob) not in self._files:
            text = self._read(path, blob).decode("utf-8-sig", "replace")
            self._files[path, blob] = [root for root, _ in read_documents(path, text)[0]]
        return next((root for root in self._files[path, blob] if line in {None, root.line}), None)

    def locate(
        self,
        document: Written,
        field: Sequence[str | int],
        *,
        overlays: Iterable[Written] = (),
        at_key: bool = False,
    ) -> Written:
        """Find the value of a field of a document, as its overlays leave it; its parent's when it is not written.

        With ``at_key``, find the field's name instead of its value.
        """
        roots = [self.root(part.path, part.blob, part.line) for part in (document, *overlays)]
        if roots[0] is None:
            return Written(document.path, document.line or 1, 1)
        node = merged(None, [root for root in roots if root is not None]) if len(roots) > 1 else roots[0]
        for depth, step in enumerate(field, 1):
            if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
                node = node.value[step][0 if at_key and depth == len(field) else 1]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            elif isinstance(step, str) and node.removed and step in node.removed:
                node = node.removed[step]
                break
            else:
                break
        return Written(node.path, node.line, node.column)
