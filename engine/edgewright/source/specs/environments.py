"""Read the Repository document and its environments. Called by ``reading``, ``upstream_reader`` and ``worktree``."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgewright.core.suggestions import suggestion
from edgewright.errors import Problem, SourceError, SpecError
from edgewright.source.paths import PathRefused, normalise
from edgewright.source.specs.documents import typed
from edgewright.source.specs.load import LoadedFile, load_file, parse_file
from edgewright.source.specs.references import Field
from edgewright.source.specs.substitution import Values
from edgewright.source.specs.yaml_nodes import MAX_BYTES, Node
from edgewright.source.trees import Tree
from edgewright_schemas.repository import REPOSITORY_FILE, Repository, RepositorySpec


@dataclass(frozen=True, slots=True)
class Overlay:
    """A folder or file of an environment's overlays."""

    path: str
    field: Field
    """Where the Repository document names it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A repository seen as one environment, or as its base alone."""

    spec: RepositorySpec
    values: Values
    overlays: tuple[Overlay, ...] = ()
    reserved: tuple[str, ...] = ()
    """Paths that any environment names as an overlay: no part of the base."""

    def is_base(self, path: str) -> bool:
        """Return whether a file may belong to the base."""
        return path == REPOSITORY_FILE or not any(path == p or path.startswith(f"{p}/") for p in self.reserved)

    def is_excluded(self, path: str) -> bool:
        """Match globs in which ``*`` also crosses folders; a folder's name excludes all that is below it."""
        for pattern in self.spec.exclude:
            plain = pattern.removeprefix("./").rstrip("/")
            shorter = plain.removeprefix("**/")
            if fnmatchcase(path, plain) or fnmatchcase(path, f"{plain}/*") or fnmatchcase(path, shorter):
                return True
        return False


def declared(tree: Tree) -> Repository | None:
    """Read the Repository document alone; None where there is none.

    Raises:
        SpecError: It is wrong.
        SourceError: It cannot be read.
    """
    found, problems = _read(tree)
    if problems:
        raise SpecError(problems)
    return found


def scope_of(tree: Tree, environment: str) -> Scope:
    """Find out what an environment consists of; the empty name stands for the base.

    Raises:
        SourceError: There is no such environment, or the Repository document cannot be read.
    """
    found, problems = _read(tree)
    if problems:  # They are found again when all files are loaded.
        reserved = tuple(path for path in _named_overlays(tree) if path)
        return Scope(RepositorySpec(), Values(are_known=False), reserved=reserved)
    spec = found.spec if found else RepositorySpec()
    names = [each.name for each in spec.environments]
    reserved = tuple(dict.fromkeys(path for each in spec.environments for path in map(_plain, each.overlays) if path))
    if not environment:
        return Scope(spec, Values(declared=names), reserved=reserved)
    chosen = spec.environment(environment)
    if chosen is None:
        raise _unknown(environment, names)
    at = names.index(environment)
    overlays = tuple(
        Overlay(path, ("spec", "environments", at, "overlays", index)) for index, path in enumerate(chosen.overlays)
    )
    return Scope(spec, Values(environment, chosen.values, names, numbers=_numbers(tree, at)), overlays, reserved)


def _unknown(environment: str, names: list[str]) -> SourceError:
    message = f"there is no environment {environment[:80]!r}"
    if not names:
        return SourceError(message, hint=f"{REPOSITORY_FILE} declares none: leave the name out, or add it there")
    close = suggestion(environment, names)
    listed = f"{REPOSITORY_FILE} declares {', '.join(names)}"
    return SourceError(message, hint=f"{close} {listed}" if close.startswith("did") else listed)


def _read(tree: Tree) -> tuple[Repository | None, tuple[Problem, ...]]:
    data = _bytes(tree)
    loaded = load_file(REPOSITORY_FILE, data, required=True) if data is not None else LoadedFile()
    for document in loaded.documents:
        found = typed(document.kind, document.body)
        if isinstance(found, Repository):
            return found, loaded.problems
    return None, loaded.problems


def _numbers(tree: Tree, at: int) -> dict[str, str]:
    """Read the digits of an environment's values that are numbers, as they are written."""
    for document in parse_file(REPOSITORY_FILE, _bytes(tree) or b"", required=True).documents:
        if document.kind == "Repository":
            values = _child(_child(_child(_child(document.root, "spec"), "environments"), at), "values")
            fields = values.value if values is not None and isinstance(values.value, dict) else {}
            return {name: node.number for name, (_, node) in fields.items() if node.number}
    return {}


def _child(node: Node | None, key: str | int) -> Node | None:
    value = node.value if node is not None else None
    if isinstance(value, dict) and isinstance(key, str) and key in value:
        return value[key][1]
    return value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None


def _bytes(tree: Tree) -> bytes | None:
    try:
        entry = tree.find(REPOSITORY_FILE)
    except PathRefused:
        return None
    return tree.objects.blob(entry.id, MAX_BYTES) if entry is not None and entry.is_file else None


def _named_overlays(tree: Tree) -> Iterator[str]:
    """Guess the overlays of a Repository document that is wrong, so that they are not taken for whole documents."""
    parsed = parse_file(REPOSITORY_FILE, _bytes(tree) or b"", required=True)
    todo = [document.root for document in parsed.documents]
    while todo:
        node = todo.pop()
        if isinstance(node.value, dict):
            for name, (_, value) in node.value.items():
                if name == "overlays" and isinstance(value.value, list):
                    yield from (_plain(item.value) for item in value.value if isinstance(item.value, str))
                todo.append(value)
        elif isinstance(node.value, list):
            todo += node.value


def _plain(path: str) -> str:
    """Write a path in one way; empty where it is refused, which is a problem of its environment only."""
    try:
        return normalise(path)
    except PathRefused:
        return ""
