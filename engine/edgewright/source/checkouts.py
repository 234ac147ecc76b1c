"""Files of a tree, written to a folder for a build step. Called by ``git`` and ``worktree``.

A checkout is made again whenever it is needed, so files are renamed into place but not fsynced.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgewright.errors import SourceError, StorageFull
from edgewright.source.paths import PathRefused
from edgewright.source.pointers import refuse_pointer
from edgewright.source.trees import Entry, Tree

_CHUNK = 1 << 20


@contextmanager
def refusals_as_source_errors() -> Iterator[None]:
    """Turn a refused path into what callers of a SnapshotSource expect.

    Raises:
        SourceError: Instead of PathRefused.
    """
    try:
        yield
    except PathRefused as error:
        raise SourceError(str(error), hint=error.hint) from error


def write_checkout(tree: Tree, paths: Sequence[str], into: Path) -> None:
    """Write files and folders below ``into``; what is there already and equal stays. Links become what they lead to.

    Raises:
        SourceError: A path is not there or a Git LFS pointer, or a link leads out of the repository.
        StorageFull: No space.
    """
    with refusals_as_source_errors():
        for path in paths:
            for name, entry in tree.files(path):
                try:
                    _write(tree, name, entry, into / name)
                except OSError as error:
                    if error.errno in (28, 122):  # ENOSPC, EDQUOT
                        raise StorageFull(f"no space left to write {into / name}") from error
                    raise SourceError(f"cannot write {into / name}: {error.strerror}") from error


def _write(tree: Tree, path: str, entry: Entry, target: Path) -> None:
    mode = 0o755 if entry.mode & 0o100 else 0o644
    if target.is_file() and not target.is_symlink() and file_id(target) == entry.id:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".checkout-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(refuse_pointer(path, tree.objects.blob(entry.id)))
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def blob_id(data: bytes) -> str:
    """Compute the id Git gives to a file's bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def file_id(path: Path) -> str:
    """Compute the id Git gives to a file, without holding it in memory.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        digest = hashlib.sha1(b"blob %d\0" % os.fstat(stream.fileno()).st_size, usedforsecurity=False)
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
