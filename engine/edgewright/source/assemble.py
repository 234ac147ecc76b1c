"""A tree of files to a checked snapshot. Called by ``git`` and ``worktree``.

Two levels of cache make a repeated load cheap: a root folder whose id was seen before gives its whole snapshot; in
another one, every file whose blob id was seen before is not parsed again. Only what has no problem is kept.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from edgewright.core.address import Address
from edgewright.core.snapshot import Location, Resource, Snapshot
from edgewright.errors import Problem, SpecError
from edgewright.source import inventories
from edgewright.source.contents import Contents
from edgewright.source.load import LoadedDocument, LoadedFile, load_file, typed
from edgewright.source.paths import PathRefused
from edgewright.source.positions import Positions
from edgewright.source.references import check_references, field_name
from edgewright.source.trees import Tree
from edgewright.source.yamlnodes import MAX_BYTES
from edgewright_schemas.fleet import Device
from edgewright_schemas.kinds import Document
from edgewright_schemas.repository import REPOSITORY_FILE, Repository, RepositorySpec

_SNAPSHOTS_KEPT = 16


class Row(NamedTuple):
    """A valid document as it is cached."""

    kind: str
    name: str
    path: str
    line: int
    column: int
    blob: str
    body: str

    @property
    def address(self) -> Address:
        """Its address."""
        return Address(self.kind.lower(), self.name)


class LazyResources(Mapping[Address, Resource]):
    """Resources by address, in file order; each is built when it is first asked for."""

    def __init__(self, rows: Mapping[Address, Row]) -> None:
        self._rows = rows
        self._built: dict[Address, Resource] = {}

    def __getitem__(self, address: Address) -> Resource:
        """Build or find one.

        Raises:
            KeyError: There is none.
        """
        found = self._built.get(address)
        if found is None:
            row = self._rows[address]
            document = typed(row.kind, row.body)
            found = Resource(address, document, Location(row.path, row.line, row.column), row.blob)
            self._built[address] = found
        return found

    def __iter__(self) -> Iterator[Address]:
        """Walk the addresses."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Count the resources."""
        return len(self._rows)

    def __contains__(self, address: object) -> bool:
        """Tell without building it."""
        return address in self._rows


class LazyInventories(Mapping[str, tuple[Device, ...]]):
    """Devices by inventory file; each file is read when it is first asked for."""

    def __init__(self, blobs: Mapping[str, str], load: Callable[[str, str], tuple[Device, ...]]) -> None:
        self._blobs = blobs
        self._load = load
        self._built: dict[str, tuple[Device, ...]] = {}

    def __getitem__(self, path: str) -> tuple[Device, ...]:
        """Read or find one.

        Raises:
            KeyError: No spec names it.
        """
        if path not in self._built:
            self._built[path] = self._load(path, self._blobs[path])
        return self._built[path]

    def __iter__(self) -> Iterator[str]:
        """Walk the paths."""
        return iter(self._blobs)

    def __len__(self) -> int:
        """Count the files."""
        return len(self._blobs)

    def __contains__(self, path: object) -> bool:
        """Tell without reading it."""
        return path in self._blobs


def assemble(tree: Tree, revision: str) -> Snapshot:
    """Read and check everything.

    Raises:
        SpecError: With every problem found.
        SourceError: An object cannot be read.
    """
    known = tree.cache.get("snapshot", tree.root)
    if known is not None:
        data = json.loads(known)
        return _snapshot(tree, revision, _Content(**data))
    assembly = _Assembly(tree)
    assembly.run()
    if assembly.problems:
        raise SpecError(list(dict.fromkeys(assembly.problems)))
    found = assembly.contents
    content = _Content(list(assembly.rows.values()), found.code, found.code_files, found.content, found.inventories)
    tree.cache.put("snapshot", {tree.root: json.dumps(content._asdict(), separators=(",", ":"))})
    tree.cache.keep_newest("snapshot", _SNAPSHOTS_KEPT)
    return _snapshot(tree, revision, content)


class _Content(NamedTuple):
    """Everything that a root folder's id determines, as it is cached."""

    rows: Sequence[Sequence[Any]]
    """Of Row."""
    code: Mapping[str, str]
    code_files: Mapping[str, Sequence[str]]
    content: Mapping[str, str]
    inventories: Mapping[str, str]
    """Blob ids by path."""


def _snapshot(tree: Tree, revision: str, content: _Content) -> Snapshot:
    def devices(path: str, blob: str) -> tuple[Device, ...]:
        known = tree.cache.get("inventory", blob)
        if known is None:
            known, problems = inventories.load_inventory(path, tree.objects.blob(blob))
            if problems:
                raise SpecError(problems)
        return inventories.typed(known)

    rows = [Row(*values) for values in content.rows]
    return Snapshot(
        revision=revision,
        resources=LazyResources({row.address: row for row in rows}),
        code=content.code,
        code_files={path: tuple(files) for path, files in content.code_files.items()},
        content=content.content,
        inventories=LazyInventories(content.inventories, devices),
    )


class _Assembly:
    """The work of one load."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.rows: dict[Address, Row] = {}
        self.documents: dict[Address, Document] = {}
        self.problems: list[Problem] = []
        self.mentioned: set[str] = set()
        self.positions = Positions(tree.objects.blob)
        self.contents = Contents(tree)

    def run(self) -> None:
        """Do it; everything wrong ends in ``problems``."""
        spec = self._repository()
        files = dict(self._files(spec))
        self._load(files)
        for complaint in check_references(self.documents, self.mentioned):
            self._complain(complaint.address, complaint.field, complaint.message, complaint.hint)
        for address, document in self.documents.items():
            for complaint in self.contents.check(address, document):
                self._complain(address, complaint.field, complaint.message, complaint.hint)
        self.problems.extend(self.contents.problems)

    def _complain(self, address: Address, field: tuple[str | int, ...], message: str, hint: str) -> None:
        row = self.rows[address]
        line, column = self.positions.locate(row.blob, row.line, field)
        self.problems.append(Problem(row.path, line, column, f"{field_name(field)}: {message}", hint))

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
                self._repository_problem(index, f"there is no {folder}", self.tree.suggest(folder))
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
        line, column = self.positions.locate(entry.id, 1, ("spec", "paths", index))
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
                self.mentioned |= loaded.mentioned
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
