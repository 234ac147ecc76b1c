"""Where a field of a document is written.

Called by ``reading`` only when there is something to complain about, so that what is cached of valid files need not
hold positions.
"""

from collections.abc import Callable, Sequence

from edgewright.source.yamlnodes import Node, read_documents


class Positions:
    """Finds lines and columns; every file is read at most once."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        """Read files through ``read``, which takes a blob id."""
        self._read = read
        self._files: dict[str, list[Node]] = {}

    def locate(
        self, blob: str, line: int | None, field: Sequence[str | int], *, at_key: bool = False
    ) -> tuple[int, int]:
        """Find the value of a field of the document that starts at ``line``; its parent's when it is not written.

        With ``at_key``, find the field's name instead of its value.

        Without a line, the file's first document is meant.
        """
        if blob not in self._files:
            text = self._read(blob).decode("utf-8-sig", "replace")
            self._files[blob] = [root for root, _ in read_documents("", text)[0]]
        node = next((root for root in self._files[blob] if line in {None, root.line}), None)
        if node is None:
            return line or 1, 1
        for depth, step in enumerate(field, 1):
            if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
                node = node.value[step][0 if at_key and depth == len(field) else 1]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            else:
                break
        return node.line, node.column
