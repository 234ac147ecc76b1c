"""Assemble a checked snapshot from a tree of files. Called by ``commits`` and ``worktree``.

Two levels of cache make a repeated load cheap: a root folder whose id was seen before gives its whole snapshot of an
environment; in another one, every file whose blob id was seen before is not parsed again (``resolving``). Only what has
no problem is kept.
"""

import json
from collections.abc import Callable, Iterator, Mapping

from edgewright.core.address import Address
from edgewright.core.snapshot import Location, Resource, Snapshot
from edgewright.errors import SpecError
from edgewright.source.specs import inventories
from edgewright.source.specs.documents import Content, Row, typed
from edgewright.source.trees import Tree
from edgewright_schemas.fleet import Device

_SNAPSHOTS_KEPT = 32


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
            overlays = tuple(Location(path, line, column) for path, line, column, _ in row.overlays)
            found = Resource(address, document, Location(row.path, row.line, row.column), row.blob, overlays)
            self._built[address] = found
        return found

    def __iter__(self) -> Iterator[Address]:
        """Walk the addresses."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Count the resources."""
        return len(self._rows)

    def __contains__(self, address: object) -> bool:
        """Return whether there is such a resource, without building it."""
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
        """Return whether there is such a file, without reading it."""
        return path in self._blobs


def assemble(tree: Tree, revision: str, environment: str = "") -> Snapshot:
    """Read and check everything as an environment sees it; without one, the base alone.

    Raises:
        SpecError: With every problem found.
        SourceError: An object cannot be read, or there is no such environment.
    """
    key = f"{tree.root}:{environment}" if environment else tree.root
    known = tree.cache.get("snapshot", key)
    if known is not None:
        return _snapshot(tree, revision, environment, Content(**json.loads(known)))
    from edgewright.source.specs.reading import read_all

    content = read_all(tree, environment)
    tree.cache.put("snapshot", {key: json.dumps(content._asdict(), separators=(",", ":"))})
    tree.cache.keep_newest("snapshot", _SNAPSHOTS_KEPT)
    return _snapshot(tree, revision, environment, content)


def _snapshot(tree: Tree, revision: str, environment: str, content: Content) -> Snapshot:
    def devices(path: str, blob: str) -> tuple[Device, ...]:
        known = tree.cache.get("inventory", blob)
        if known is None:
            known, problems = inventories.load_inventory(path, tree.objects.blob(blob, inventories.MAX_BYTES))
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
        environment=environment,
    )
