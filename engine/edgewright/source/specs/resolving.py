"""Files to checked documents as one environment sees them. Called by ``reading``.

What comes of a file is kept by its blob id. Where a document asks for values or is changed by overlays, these are part
of the key; plain documents are shared by all environments. Only what has no problem is kept.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgewright.core.suggestions import nearest
from edgewright.errors import Problem
from edgewright.source.specs.documents import UNKNOWN_KIND, Row
from edgewright.source.specs.environments import Scope
from edgewright.source.specs.load import (
    LoadedDocument,
    ParsedDocument,
    check_document,
    check_file,
    parse_file,
)
from edgewright.source.specs.overlays import merged
from edgewright.source.specs.patches import Patch, Patches
from edgewright.source.specs.positions import Positions
from edgewright.source.specs.substitution import Filled, Values, fill, fill_text, uses
from edgewright.source.specs.yaml_nodes import MAX_BYTES
from edgewright.source.trees import Tree

_MAX_GUESSES = 20
"""For so many names the nearest is looked for, which takes its time."""
Head = tuple[str, str]
"""Kind and name of a document, as written."""
_Heads = tuple[list[Head], list[str] | None]
"""Those of a file, and the values it asks for; None where it holds no ``${``."""


class Resolving:
    """The work of one load; everything wrong ends in ``problems`` and ``broken``."""

    def __init__(self, tree: Tree, scope: Scope, positions: Positions) -> None:
        self._tree = tree
        self._values = scope.values
        self._positions = positions
        self.patches = Patches(tree, scope, positions)
        self.problems: list[Problem] = list(self.patches.problems)
        self.broken: set[str] = set(self.patches.broken)
        self._in_base: set[Head] = set()
        self._guessed = 0
        self._fresh: dict[str, str] = {}
        self._fresh_heads: dict[str, str] = {}

    def rows(self, files: Mapping[str, tuple[str, bool]]) -> Iterator[Row]:
        """Resolve every document of the base, then those that overlays add.

        Args:
            files: (blob id, whether every document must be edgewright's) by path.
        """
        cache = self._tree.cache
        # What counts as a problem depends on where the file is; so does what may be kept of it.
        plain = cache.get_many("file", (_key(*file) for file in files.values()))
        heads = cache.get_many("heads", (key for file in files.values() if (key := _key(*file)) not in plain))
        known = {path: self._heads(_key(*file), plain, heads) for path, file in files.items()}
        keys = {path: self._full_key(_key(*files[path]), found) for path, found in known.items() if found is not None}
        kept = plain | cache.get_many("file", (key for key in keys.values() if key not in plain))
        for path, (blob, required) in files.items():
            found = known[path]
            self._note(found[0] if found else ())
            text = kept.get(keys.get(path, ""))
            yield from self._file(path, blob, required) if text is None else _decode(text, path, blob)
        yield from self._added()
        cache.put("file", self._fresh)
        cache.put("heads", self._fresh_heads)

    def _heads(self, key: str, plain: Mapping[str, str], heads: Mapping[str, str]) -> _Heads | None:
        if key in plain:
            # Without overlays nobody asks for the names.
            return ([(kind, name) for kind, name, *_ in json.loads(plain[key])] if self.patches else []), None
        if key in heads:
            names, used = json.loads(heads[key])
            return [(kind, name) for kind, name in names], used
        return None

    def _full_key(self, key: str, heads: _Heads) -> str:
        names, used = heads
        patches = [patch for kind, name in names for patch in self._patches_of(kind, name)]
        return _resolved_key(key, patches, used, self._values)

    def _patches_of(self, kind: str, written_name: str | None) -> list[Patch]:
        name = None if written_name is None else fill_text(written_name, self._values)
        return self.patches.of(kind, name)

    def _note(self, heads: Iterable[Head]) -> None:
        if self.patches:
            for kind, written_name in heads:
                name = fill_text(written_name, self._values)
                if name is not None:
                    self._in_base.add((kind, name))

    def _file(self, path: str, blob: str, required: bool) -> Iterator[Row]:
        parsed = parse_file(path, self._tree.objects.blob(blob, MAX_BYTES), required=required)
        named = [(d.kind, d.name) for d in parsed.documents if d.name is not None]
        asked = [used for document in parsed.documents if (used := _uses(document)) is not None]
        heads: _Heads = (named, sorted(frozenset[str]().union(*asked)) if asked else None)
        self._note(named)
        loaded = check_file(parsed, self._resolve)
        self.problems.extend(loaded.problems)
        self.broken |= loaded.broken
        key = _key(blob, required)
        full = self._full_key(key, heads)
        if not parsed.problems and (full != key or loaded.problems):
            self._fresh_heads[key] = json.dumps(heads, separators=(",", ":"))
        rows = [self._row(path, blob, document) for document in loaded.documents]
        if not loaded.problems and not loaded.broken:
            self._fresh[full] = _encode(rows)
        yield from rows

    def _resolve(self, document: ParsedDocument) -> Filled:
        if document.kind == "Repository":
            return Filled(document.root)
        patches = self._patches_of(document.kind, document.name)
        root = merged(document.root, self.patches.roots(patches)) if patches else document.root
        return fill(root, self._values)

    def _row(self, path: str, blob: str, document: LoadedDocument) -> Row:
        overlays = [patch.written for patch in self.patches.of(document.kind, document.name)]
        return Row(document.kind, document.name, path, document.line, document.column, blob, document.body, overlays)

    def _added(self) -> Iterator[Row]:
        """Resolve the documents that are in overlays only."""
        if UNKNOWN_KIND in self.broken:
            return  # What they are meant for may be in a file that cannot be read.
        todo = {
            head: patches
            for head, patches in self.patches
            if head not in self._in_base and head[0].lower() not in self.broken
        }
        keys = {
            head: _resolved_key(_added_key(found), found[1:], found[0].uses, self._values)
            for head, found in todo.items()
        }
        kept = self._tree.cache.get_many("file", keys.values())
        for head, patches in todo.items():
            first = patches[0].written
            text = kept.get(keys[head])
            if text is not None:
                yield from _decode(text, first.path, first.blob)
                continue
            loaded = self._check_added(head, patches)
            if loaded is not None:
                overlays = [patch.written for patch in patches[1:]]
                row = Row(*head, first.path, first.line, first.column, first.blob, loaded.body, overlays)
                self._fresh[keys[head]] = _encode([row])
                yield row

    def _check_added(self, head: Head, patches: list[Patch]) -> LoadedDocument | None:
        root = merged(None, self.patches.roots(patches))
        document = ParsedDocument(root, head[0], head[1], is_clean=True)
        loaded = check_document(document, lambda _: fill(root, self._values))
        if isinstance(loaded, LoadedDocument):
            return loaded
        self.broken.add(head[0].lower())
        missing = [problem for problem in loaded if problem.message.startswith("missing field ")]
        self.problems.extend(problem for problem in loaded if problem not in missing)
        if missing:
            # Most likely it was meant for a document that has another name.
            self._guessed += 1
            known = [name for kind, name in self._in_base if kind == head[0]] if self._guessed <= _MAX_GUESSES else []
            close = nearest(head[1], known)
            what = f"there is no {head[0].lower()}/{head[1]} that this could change, and it is not whole: "
            hint = f"did you mean {close}?" if close else "write all of it, or the name of one that there is"
            fields = ", ".join(problem.message.removeprefix("missing field ") for problem in missing)
            self.problems.append(Problem(root.path, root.line, root.column, f"{what}{fields} missing", hint))
        return None


def _uses(document: ParsedDocument) -> frozenset[str] | None:
    return None if document.kind == "Repository" else uses(document.root)


def _key(blob: str, required: bool) -> str:
    return f"{blob}:required" if required else blob


def _added_key(patches: list[Patch]) -> str:
    first = patches[0].written
    return f"{first.blob}:{first.line}:added"


def _resolved_key(key: str, patches: Iterable[Patch], used: Iterable[str] | None, values: Values) -> str:
    """Name what comes of a file: by itself alone where it neither asks for values nor is changed."""
    changes = list(patches)
    if not changes and used is None:
        return key
    asked = {*(used or ()), *(name for patch in changes for name in patch.uses)}
    filled = {name: (values.values[name], values.text(name)) for name in sorted(asked) if name in values.values}
    text = json.dumps([[patch.written for patch in changes], filled], separators=(",", ":"))
    return f"{key}:{hashlib.sha256(text.encode()).hexdigest()}"


def _encode(rows: Iterable[Row]) -> str:
    return json.dumps([[r.kind, r.name, r.line, r.column, r.body, r.overlays] for r in rows], separators=(",", ":"))


def _decode(text: str, path: str, blob: str) -> list[Row]:
    values: list[list[Any]] = json.loads(text)
    return [Row(kind, name, path, line, column, blob, *rest) for kind, name, line, column, *rest in values]
