"""A tree of files read and checked, every file and reference. Called by ``assemble`` for a folder not seen before.

A file whose blob id was seen before is not parsed again (``resolving``).
"""

from collections.abc import Iterator

from edgewright.core.address import Address
from edgewright.errors import Problem, SpecError
from edgewright.source.bounds import check_body_bytes, check_spec_bytes
from edgewright.source.paths import PathRefused
from edgewright.source.specs.contents import Contents
from edgewright.source.specs.documents import Content, Row, typed
from edgewright.source.specs.environments import Scope, scope_of
from edgewright.source.specs.known_names import check_known_names
from edgewright.source.specs.positions import Positions, Written
from edgewright.source.specs.references import Field, FieldProblem, check_references, field_name
from edgewright.source.specs.resolving import Resolving
from edgewright.source.trees import Tree
from edgewright_schemas.kinds import Document
from edgewright_schemas.repository import REPOSITORY_FILE


def read_all(tree: Tree, environment: str = "") -> Content:
    """Read and check everything as an environment sees it; without one, the base alone.

    Raises:
        SpecError: With every problem found.
        SourceError: An object cannot be read, or there is no such environment.
    """
    reading = _Reading(tree, scope_of(tree, environment))
    reading.run()
    if reading.problems:
        raise SpecError(list(dict.fromkeys(reading.problems)))
    found = reading.contents
    return Content(list(reading.rows.values()), found.code, found.code_files, found.content, found.inventories)


class _Reading:
    """The work of one load."""

    def __init__(self, tree: Tree, scope: Scope) -> None:
        self.tree = tree
        self.scope = scope
        self.rows: dict[Address, Row] = {}
        self.documents: dict[Address, Document] = {}
        self.problems: list[Problem] = []
        self.positions = Positions(lambda _, blob: tree.objects.blob(blob))
        self.contents = Contents(tree)

    def run(self) -> None:
        """Do it; everything wrong ends in ``problems``."""
        files = dict(self._files())
        check_spec_bytes((blob for blob, _ in files.values()), self.tree.objects.size)
        body_bytes = 0
        resolving = Resolving(self.tree, self.scope, self.positions)
        for row in resolving.rows(files):
            body_bytes += len(row.body)
            check_body_bytes(body_bytes)
            self._take(row)
        self.problems.extend(resolving.problems)
        for field, message, hint in resolving.patches.misplaced:
            self._repository_problem(field, message, hint)
        for problem in check_references(self.documents, resolving.broken):
            self._report(problem)
        for problem in check_known_names(self.documents):
            self._report(problem)
        for address, document in self.documents.items():
            for problem in self.contents.check(address, document):
                self._report(problem)
        self.problems.extend(self.contents.problems)

    def _report(self, found: FieldProblem) -> None:
        row = self.rows[found.address]
        document, overlays = Written(row.path, row.line, row.column, row.blob), [Written(*o) for o in row.overlays]
        at = self.positions.locate(document, found.field, overlays=overlays, at_key=found.at_key)
        self.problems.append(Problem(at.path, at.line, at.column, f"{found.where}: {found.message}", found.hint))

    def _files(self) -> Iterator[tuple[str, tuple[str, bool]]]:
        """List (path, (blob id, required)) of the files that may be specs."""
        scope = self.scope
        everything = [(path, blob) for path, blob in self.tree.scan(self.tree.root).specs if scope.is_base(path)]
        for index, folder in enumerate(scope.spec.paths):
            field = ("spec", "paths", index)
            try:
                entry = self.tree.find(folder)
            except PathRefused as error:
                self._repository_problem(field, str(error), error.hint)
                continue
            if entry is None:
                hint = self.tree.suggest(folder)
                if "did you mean" not in hint:
                    hint = "Git keeps no empty folder: take it out of spec.paths, or commit a file there"
                self._repository_problem(field, f"there is no folder {folder}", hint)
                continue
            base = folder.removeprefix("./").strip("/")
            base = "" if base == "." else base
            for path, blob in everything:
                if (not base or path == base or path.startswith(f"{base}/")) and not scope.is_excluded(path):
                    yield path, (blob, bool(base))
        for path, blob in everything:
            if path == REPOSITORY_FILE:
                yield path, (blob, True)

    def _repository_problem(self, field: Field, message: str, hint: str) -> None:
        entry = self.tree.find(REPOSITORY_FILE)
        assert entry is not None
        root = self.positions.root(REPOSITORY_FILE, entry.id, None)
        document = Written(REPOSITORY_FILE, root.line if root else 1, 1, entry.id)
        at = self.positions.locate(document, field)
        self.problems.append(Problem(at.path, at.line, at.column, f"{field_name(field)}: {message}", hint))

    def _take(self, row: Row) -> None:
        address = row.address
        if address.kind == "repository" and row.path != REPOSITORY_FILE:
            what = f"a Repository document belongs in {REPOSITORY_FILE} at the root"
            self.problems.append(Problem(row.path, row.line, row.column, what, "move or remove it"))
            return
        other = self.rows.get(address)
        if other is None and address.kind == "repository":
            other = next((r for a, r in self.rows.items() if a.kind == "repository"), None)
        if other is not None:
            message = f"{address} is declared twice" if other.address == address else "there is a second Repository"
            hint = f"the other one is at {other.path}:{other.line}:{other.column}; rename or remove one"
            self.problems.append(Problem(row.path, row.line, row.column, message, hint))
            return
        self.rows[address] = row
        self.documents[address] = typed(row.kind, row.body)
