"""A repository in memory whose branch can be moved, for tests of what is driven through ports.SnapshotSource.

Files go through the production loader: the tree is Git's, with Git's ids, but no program and no folder is needed.
"""

import hashlib
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgewright.core.snapshot import Snapshot
from edgewright.errors import SourceError
from edgewright.source.cache import Cache
from edgewright.source.checkouts import blob_id, refusals_as_source_errors, write_checkout
from edgewright.source.specs.assemble import assemble
from edgewright.source.trees import Entry, Tree

Files = Mapping[str, str | bytes]


class MemoryObjects:
    """Implements source.trees.Objects over files by path."""

    def __init__(self, files: Files) -> None:
        self._blobs: dict[str, bytes] = {}
        self._trees: dict[str, tuple[Entry, ...]] = {}
        self.root = self._write({path: _bytes(content) for path, content in files.items()})

    def tree(self, tree_id: str) -> Sequence[Entry]:
        return self._trees[tree_id]

    def blob(self, blob: str, limit: int | None = None) -> bytes:
        return self._blobs[blob] if limit is None else self._blobs[blob][: limit + 1]

    def size(self, blob: str) -> int:
        return len(self._blobs[blob])

    def _write(self, files: Mapping[str, bytes]) -> str:
        entries, folders = [], dict[str, dict[str, bytes]]()
        for path, data in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(name, {})[rest] = data
            else:
                entries.append(Entry(stat.S_IFREG | 0o644, blob_id(data), name))
                self._blobs[entries[-1].id] = data
        entries += [Entry(stat.S_IFDIR, self._write(below), name) for name, below in folders.items()]
        entries.sort(key=lambda entry: entry.name + "/" * entry.is_folder)
        body = b"".join(b"%o %s\0" % (e.mode, e.name.encode()) + bytes.fromhex(e.id) for e in entries)
        tree_id = hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        self._trees[tree_id] = tuple(entries)
        return tree_id


def snapshot_of(files: Files, revision: str = "") -> Snapshot:
    """Load files as a revision of their own.

    Raises:
        SpecError: With every problem found.
    """
    objects = MemoryObjects(files)
    return assemble(Tree(objects, objects.root, Cache(None)), revision or objects.root)


class MemorySource:
    """Implements ports.SnapshotSource."""

    def __init__(self, files: Files) -> None:
        self.revisions: dict[str, dict[str, str | bytes]] = {}
        self.files: dict[str, str | bytes] = {}
        """Of the newest commit."""
        self.commit(files)

    def commit(self, files: Mapping[str, str | bytes | None]) -> str:
        """Add, replace and (None) remove files, and move the branch; returns the commit."""
        changed = {**self.files, **files}
        self.files = {path: content for path, content in changed.items() if content is not None}
        self.head = hashlib.sha1(f"{len(self.revisions)}".encode(), usedforsecurity=False).hexdigest()
        self.revisions[self.head] = self.files
        return self.head

    def revision(self) -> str:
        return self.head

    def snapshot(self) -> Snapshot:
        return snapshot_of(self.files, self.head)

    def materialize(self, revision: str, paths: Sequence[str], into: Path) -> None:
        write_checkout(self._tree(revision), paths, into)

    def read(self, revision: str, path: str) -> bytes:
        with refusals_as_source_errors():
            return self._tree(revision).read(path)

    def _tree(self, revision: str) -> Tree:
        if revision not in self.revisions:
            raise SourceError(f"there is no commit {revision}")
        objects = MemoryObjects(self.revisions[revision])
        return Tree(objects, objects.root, Cache(None))


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
