"""A tree of files read and checked, every file and reference. Called by ``assemble`` for a folder not seen before.

A file whose blob id was seen before is not parsed again; only files without problems are kept.
"""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from edgewright.core.address import Address
from edgewright.errors import Problem, SpecError
from edgewright.source.contents import Contents
from edgewright.source.documents import Content, Row, typed
from edgewright.source.known import check_known
from edgewright.source.load import LoadedDocument, LoadedFile, load_file
from edgewright.source.paths import PathRefused
from edgewright.source.positions import Positions
from edgewright.source.references import Complaint, check_references
from edgewright.source.trees import Tree
from edgewright.source.yamlnodes import MAX_BYTES
from edgewright_schemas.kinds import Document
from edgewright_schemas.repository import REPOSITORY_FILE, Repository, RepositorySpec


def read_all(tree: Tree) -> Content:
    """Read and check everything.

    Raises:
        SpecError: With every problem found.
        SourceError: An object cannot be read.
    """
    reading = _Reading(tree)
    reading.run()
    if reading.problems:
        raise SpecError(list(dict.fromkeys(reading.problems)))
    found = reading.contents
    return Content(list(reading.rows.values()), found.code, found.code_files, found.content, found.inventories)


class _Reading:
    """The work of one load."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.rows: dict[Address, Row] = {}
        self.documents: dict[Address, Document] = {}
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        self.positions = Positions(tree.objects.blob)
        self.contents = Contents(tree)

    def run(self) -> None:
        """Do it; everything wrong ends in ``problems``."""
        spec = self._repository()
        files = dict(self._files(spec))
        self._load(files)
        for complaint in check_references(self.documents, self.broken):
            self._complain(complaint)
        for complaint in check_known(self.documents):
            self._complain(complaint)
        for address, document in self.documents.items():
            for complaint in self.contents.check(address, document):
                self._complain(complaint)
        self.problems.extend(self.contents.problems)

    def _complain(self, found: Complaint) -> None:
        row = self.rows[found.address]
        line, column = self.positions.locate(row.blob, row.line, found.field, at_key=found.at_key)
        self.problems.append(Problem(row.path, line, column, f"{found.where}: {found.message}", found.hint))

    def _repository(self) -> RepositorySpec:
        """Read the root's Repository document; its problems are found again when all files are loaded."""
        try:
            entry = self.tree.find(REPOSITORY_FILE)
        except PathRefused:
            entry = None
        if entry is None or not entry.is_file:
            return RepositorySpec()
        loaded = load_file(REPOSITORY_FILE, self.tree.objects.blob(entry.id, MAX_BYTES), required=True)
        for document in loaded.documents:
            found = typed(document.kind, document.body)
            if isinstance(found, Repository):
                return found.spec
        return RepositorySpec()

    def _files(self, spec: RepositorySpec) -> Iterator[tuple[str, tuple[str, bool]]]:
        """List (path, (blob id, required)) of the files that may be specs."""
        everything = [(path, blob) for path, blob in self.tree.scan(self.tree.root).specs]
        for index, folder in enumerate(spec.paths):
            try:
                entry = self.tree.find(folder)
            except PathRefused as error:
                self._repository_problem(index, str(error), error.hint)
                continue
            if entry is None:
                hint = self.tree.suggest(folder)
                if "did you mean" not in hint:
                    hint = "Git keeps no empty folder: take it out of spec.paths, or commit a file there"
                self._repository_problem(index, f"there is no folder {folder}", hint)
                continue
            base = folder.removeprefix("./").strip("/")
            base = "" if base == "." else base
            for path, blob in everything:
                if (not base or path == base or path.startswith(f"{base}/")) and not _excluded(path, spec.exclude):
                    yield path, (blob, bool(base))
        for path, blob in everything:
            if path == REPOSITORY_FILE:
                yield path, (blob, True)

    def _repository_problem(self, index: int, message: str, hint: str) -> None:
        entry = self.tree.find(REPOSITORY_FILE)
        assert entry is not None
        line, column = self.positions.locate(entry.id, None, ("spec", "paths", index))
        self.problems.append(Problem(REPOSITORY_FILE, line, column, f"spec.paths[{index}]: {message}", hint))

    def _load(self, files: Mapping[str, tuple[str, bool]]) -> None:
        # What counts as a problem depends on where the file is; so does what may be kept of it.
        cached = self.tree.cache.get_many("file", (_key(blob, required) for blob, required in files.values()))
        fresh: dict[str, str] = {}
        for path, (blob, required) in files.items():
            rows = _decode(cached.get(_key(blob, required)), path, blob)
            if rows is None:
                loaded = load_file(path, self.tree.objects.blob(blob, MAX_BYTES), required=required)
                self.problems.extend(loaded.problems)
                self.broken |= loaded.broken
                rows = [_row(path, blob, document) for document in loaded.documents]
                if not loaded.problems:
                    fresh[_key(blob, required)] = _encode(loaded)
            for row in rows:
                self._take(row)
        self.tree.cache.put("file", fresh)

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


def _excluded(path: str, patterns: tuple[str, ...]) -> bool:
    """Match globs in which ``*`` also crosses folders; a folder's name excludes all that is below it."""
    for pattern in patterns:
        plain = pattern.removeprefix("./").rstrip("/")
        if fnmatchcase(path, plain) or fnmatchcase(path, f"{plain}/*") or fnmatchcase(path, plain.removeprefix("**/")):
            return True
    return False


def _key(blob: str, required: bool) -> str:
    return f"{blob}:required" if required else blob


def _row(path: str, blob: str, document: LoadedDocument) -> Row:
    return Row(document.kind, document.name, path, document.line, document.column, blob, document.body)


def _encode(loaded: LoadedFile) -> str:
    documents = [[d.kind, d.name, d.line, d.column, d.body] for d in loaded.documents]
    return json.dumps(documents, separators=(",", ":"))


def _decode(text: str | None, path: str, blob: str) -> list[Row] | None:
    if text is None:
        return None
    values: list[list[Any]] = json.loads(text)
    return [Row(kind, name, path, line, column, blob, body) for kind, name, line, column, body in values]
