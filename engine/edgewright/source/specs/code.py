"""The repository's own Python code that specs refer to: what it defines, what it imports, and one digest for it all.

The scan is static: code is parsed, never run. Imports made at run time (``importlib``, ``__import__``) are not seen.
Called by ``reading``.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from edgewright.core.suggestions import suggestion
from edgewright.source.paths import normalise
from edgewright.source.trees import Entry, Tree

MAX_BYTES = 4 << 20
"""Of one module."""


@dataclass(frozen=True, slots=True)
class Closure:
    """A file and, transitively, the repository's modules that it imports."""

    files: tuple[str, ...]
    """Their paths, sorted."""
    digest: str
    """``sha256`` over the sorted (path, blob id) pairs: equal code gives an equal digest."""


@dataclass(frozen=True, slots=True)
class Module:
    """Definitions and imports of one file."""

    names: tuple[str, ...] | None
    """Its top-level names; None when ``from x import *`` hides them."""
    imports: tuple[tuple[int, str], ...]
    """(level, dotted name): level 0 is absolute, 1 is the file's own package, 2 the one above."""
    error: str = ""
    """Why it is not Python, if it is not."""


def scan_module(source: bytes) -> Module:
    """Parse a file."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return Module((), (), f"line {error.lineno or 1}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return Module((), (), str(error) or type(error).__name__)
    names = list(_bound(tree.body))
    imports: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.extend((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            imports.append((node.level, base))
            imports.extend((node.level, f"{base}.{alias.name}".lstrip(".")) for alias in node.names)
    return Module(None if "*" in names else tuple(sorted(set(names))), tuple(sorted(set(imports))))


def _bound(body: Iterable[ast.stmt]) -> Iterator[str]:
    """List the names that statements bind at the top level, also below if, try and with."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.For() | ast.With():
                yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            case _:
                pass
        for inner in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _bound(getattr(node, inner, ()))
        for handler in getattr(node, "handlers", ()):
            yield from _bound(handler.body)


class CodeReader:
    """Reads modules of one tree; what a blob holds is cached."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._modules: dict[str, Module] = {}

    def module(self, blob: str) -> Module:
        """Scan the module of a blob id."""
        if blob not in self._modules:
            self._modules[blob] = self._load(blob)
        return self._modules[blob]

    def _load(self, blob: str) -> Module:
        known = self._tree.cache.get("module", blob)
        if known is not None:
            names, imports, error = json.loads(known)
            return Module(None if names is None else tuple(names), tuple((n, text) for n, text in imports), error)
        source = self._tree.objects.blob(blob, MAX_BYTES)
        if len(source) > MAX_BYTES:
            return Module((), (), f"larger than {MAX_BYTES:,} bytes")
        found = scan_module(source)
        self._tree.cache.put("module", {blob: json.dumps([found.names, found.imports, found.error])})
        return found

    def closure(self, path: str, entry: Entry) -> Closure:
        """Compute the closure of a file's imports.

        Raises:
            PathRefused: A link on an import's path leads out of the repository.
        """
        start = normalise(path)
        found = {start: entry.id}
        todo = [start]
        while todo:
            current = todo.pop()
            for candidate in self._imported(current, found[current]):
                if candidate in found:
                    continue
                below = self._tree.find(candidate)
                if below is not None and below.is_file:
                    found[candidate] = below.id
                    todo.append(candidate)
        text = json.dumps(sorted(found.items()), separators=(",", ":"))
        return Closure(tuple(sorted(found)), f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")

    def _imported(self, path: str, blob: str) -> Iterator[str]:
        """List the files an import may mean: below the file's folder first, then below the root."""
        folder = PurePosixPath(path).parent
        for level, name in self.module(blob).imports:
            parts = [part for part in name.split(".") if part]
            if level == 0:
                bases = [folder, PurePosixPath()]
            elif level - 1 <= len(folder.parts):
                bases = [PurePosixPath(*folder.parts[: len(folder.parts) - (level - 1)])]
            else:
                continue
            for base in bases:
                if level:
                    yield str(base / "__init__.py")
                for end in range(1, len(parts) + 1):
                    target = base.joinpath(*parts[:end])
                    yield f"{target}.py"
                    yield str(target / "__init__.py")


def split_reference(use: str) -> tuple[str, str]:
    """Split ``path/file.py:name``."""
    path, _, name = use.partition(":")
    return path, name


def check_reference(reader: CodeReader, tree: Tree, use: str) -> tuple[Closure | None, str, str]:
    """Check that a code reference leads to a definition.

    Returns:
        (closure, problem, hint): the closure when it does, else what is wrong and what to do.

    Raises:
        PathRefused: The path, or a link on it, leads out of the repository.
    """
    path, name = split_reference(use)
    entry = tree.find(path)
    if entry is None or not entry.is_file:
        return None, f"there is no file {path}", tree.suggest(path)
    module = reader.module(entry.id)
    if module.error:
        return None, f"{path} is not valid Python: {module.error}", ""
    first = name.partition(".")[0]
    if module.names is not None and first not in module.names:
        public = [known for known in module.names if not known.startswith("_")]
        return None, f"{path} defines no {first!r}", suggestion(first, public)
    return reader.closure(path, entry), "", ""
