"""The overlay documents of one environment: found, read, and given out by kind and name. Called by ``resolving``.

Which documents an overlay file holds is cached by its blob id; it is parsed when a document has to be merged anew.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from edgewright.errors import Problem
from edgewright.source.paths import PathRefused, normalise
from edgewright.source.specs.documents import UNKNOWN_KIND
from edgewright.source.specs.environments import Overlay, Scope
from edgewright.source.specs.load import ParsedDocument, parse_file
from edgewright.source.specs.positions import Positions, Written
from edgewright.source.specs.references import Field
from edgewright.source.specs.substitution import fill, fill_text, uses
from edgewright.source.specs.yaml_nodes import MAX_BYTES, Node
from edgewright.source.trees import Tree
from edgewright_schemas.repository import REPOSITORY_FILE

Key = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One overlay document."""

    written: Written
    uses: tuple[str, ...]
    """The values that its file asks for."""


class Patches:
    """Reads every overlay when it is made; what is wrong with them ends in ``problems`` and ``misplaced``."""

    def __init__(self, tree: Tree, scope: Scope, positions: Positions) -> None:
        self._tree = tree
        self._scope = scope
        self._positions = positions
        self._found: dict[Key, list[Patch]] = {}
        self.problems: list[Problem] = []
        self.misplaced: list[tuple[Field, str, str]] = []
        """Field of the Repository document, message and hint."""
        self.broken: set[str] = set()
        for overlay in scope.overlays:
            self._read(overlay)

    def of(self, kind: str, name: str | None) -> list[Patch]:
        """List what is merged into a document, in order."""
        return self._found.get((kind, name), []) if name is not None else []

    def __len__(self) -> int:
        """Count the documents that are changed or added."""
        return len(self._found)

    def __iter__(self) -> Iterator[tuple[Key, list[Patch]]]:
        """Walk all of them by kind and name."""
        return iter(self._found.items())

    def roots(self, patches: list[Patch]) -> list[Node]:
        """Read overlay documents."""
        found = [self._positions.root(p.written.path, p.written.blob, p.written.line) for p in patches]
        return [root for root in found if root is not None]

    def _read(self, overlay: Overlay) -> None:
        try:
            files = list(self._files(overlay.path))
        except PathRefused as error:
            self._misplace(overlay, str(error), error.hint)
            return
        if not files:
            if self._tree.find(overlay.path) is None:
                hint = self._tree.suggest(overlay.path)
                self._misplace(overlay, f"there is no folder or file {overlay.path}", hint)
            else:
                what = f"there is no *.yaml or *.yml file in {overlay.path}"
                self._misplace(overlay, what, "add one, or take the overlay out of the list")
            return
        known = self._tree.cache.get_many("overlay", [blob for _, blob in files])
        fresh: dict[str, str] = {}
        here: dict[Key, Patch] = {}
        for path, blob in files:
            described = known.get(blob) or self._parse(path, blob, fresh)
            documents, used = json.loads(described)
            for kind, name, line, column in documents:
                self._take(here, kind, name, Patch(Written(path, line, column, blob), tuple(used)))
        self._tree.cache.put("overlay", fresh)
        for key, patch in here.items():
            self._found.setdefault(key, []).append(patch)

    def _misplace(self, overlay: Overlay, message: str, hint: str) -> None:
        self.misplaced.append((overlay.field, message, hint))
        self.broken.add(UNKNOWN_KIND)

    def _files(self, path: str) -> Iterator[tuple[str, str]]:
        base = normalise(path)
        if not base:
            raise PathRefused("an overlay cannot be the whole repository", "name a folder below it")
        entry = self._tree.find(base)
        if entry is None:
            return
        if entry.is_file:
            yield base, entry.id
        if not entry.is_folder:
            return
        for below, blob in self._tree.scan(entry.id).specs:
            if not self._scope.is_excluded(f"{base}/{below}"):
                yield f"{base}/{below}", blob

    def _parse(self, path: str, blob: str, fresh: dict[str, str]) -> str:
        """Describe a file's documents, and the values they ask for; kept in ``fresh`` when nothing is wrong."""
        parsed = parse_file(path, self._tree.objects.blob(blob, MAX_BYTES), required=True)
        problems = list(parsed.problems)
        documents: list[tuple[str, str, int, int]] = []
        used: set[str] = set()
        for document in parsed.documents:
            wrong = _frame_problems(document)
            problems += wrong
            if not wrong and document.is_clean:
                used |= uses(document.root) or set()
                documents.append((document.kind, document.name or "", document.root.line, document.root.column))
        described = json.dumps([documents, sorted(used)], separators=(",", ":"))
        if problems:
            self.problems += problems
            self.broken.add(UNKNOWN_KIND)
        else:
            fresh[blob] = described
        return described

    def _take(self, here: dict[Key, Patch], kind: str, written_name: str, patch: Patch) -> None:
        name, at = fill_text(written_name, self._scope.values), patch.written
        if name is None:
            self._report_name(kind, patch)
            return
        other = here.setdefault((kind, name), patch)
        if other is not patch:
            first = other.written
            message = f"{kind.lower()}/{name} is changed twice in one overlay"
            hint = f"the other place is {first.path}:{first.line}:{first.column}; put both into one document"
            self.problems.append(Problem(at.path, at.line, at.column, message, hint))

    def _report_name(self, kind: str, patch: Patch) -> None:
        """A name whose values are not there: say so where it is written."""
        self.broken.add(kind.lower())
        for root in self.roots([patch]):
            self.problems += fill(root, self._scope.values).problems


def _frame_problems(document: ParsedDocument) -> list[Problem]:
    """Validate an overlay document before it is merged into anything."""
    root = document.root
    if document.problems:
        return list(document.problems)
    if document.kind == "Repository":
        what = "an overlay cannot change the Repository document"
        return [Problem(root.path, root.line, root.column, what, f"say it in {REPOSITORY_FILE}")]
    if document.name is None:
        what = "missing field 'metadata.name'"
        return [Problem(root.path, root.line, root.column, what, "it says what this is merged into")]
    return []
