"""Durable file writes: written beside, fsynced, renamed, and the directory fsynced.

Everything that must survive a crash goes through here: the delivery repository, keys, and whoever else keeps files.
A file written here is, at every instant, either what it was or what it becomes. What a crash leaves behind are
files named ``.*.tmp``, which ``remove_leftovers`` takes away.

``watched`` lets a test see each operation just before it happens, and end the process there.
"""

import contextlib
import errno
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from edgewright.errors import BlobCorrupt, StorageFull

Watch = Callable[[str, Path], None]
"""Takes the operation and its path: ``create``, ``write``, ``sync``, ``link``, ``rename``, ``sync-dir``, ``remove``."""

TEMPORARY = ".tmp"
LEAST_FREE = 64 << 20
"""Bytes below which a disk counts as full: a model has that many."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})
_THREADS = 8
_counter = itertools.count()
_watch: Watch | None = None


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Call ``watch`` before each durable operation of this process, one after the other, in a settled order."""
    global _watch  # noqa: PLW0603 - the one hook, set by crash tests only
    before, _watch = _watch, watch
    try:
        yield
    finally:
        _watch = before


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file whole, durably, in place of what is there.

    Raises:
        StorageFull: No space is left, or the disk failed.
        OSError: The folder cannot be written for another reason.
    """
    write_all_atomic({path: data}, mode=mode)


def write_all_atomic(files: Mapping[Path, bytes], *, mode: int = 0o644) -> None:
    """Write many files, each whole and durably; a folder is synced once, after the last of its files.

    The files of one call may become visible in any order.

    Raises:
        StorageFull, OSError: As in write_atomic. Some of the files may be in place.
    """

    def write(item: tuple[Path, bytes]) -> None:
        path, data = item
        temporary = temporary_beside(path)
        with space_for(path):
            try:
                _write_new(temporary, data, mode)
                rename(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    if len(files) > _THREADS and _watch is None:
        # An fsync waits for the disk and not for the processor; several at once share one journal commit.
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(write, files.items()):
                pass
    else:
        for item in files.items():
            write(item)
    for folder in dict.fromkeys(path.parent for path in files):
        sync_folder(folder)


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that must not be there yet, with its permissions from the first instant; no folder is synced.

    Raises:
        FileExistsError: It is there.
        StorageFull, OSError: As in write_atomic.
    """
    with space_for(path):
        _write_new(path, data, mode)


def copy_atomic(source: Path, path: Path, digest: str, *, link: bool = True) -> None:
    """Copy a file whose sha256 is known, durably. No folder is synced.

    It becomes a hard link where the file system allows it and everyone may read the source.

    Raises:
        BlobCorrupt: The source's bytes do not match ``digest``.
        StorageFull, OSError: As in write_atomic.
    """
    temporary = temporary_beside(path)
    with space_for(path):
        try:
            if not (link and _link(source, temporary)):
                _copy(source, temporary)
            if digest_file(temporary) != digest:
                raise BlobCorrupt(digest)
            rename(temporary, path)
        finally:
            # Renaming a hard link onto another name of the same file leaves both names.
            temporary.unlink(missing_ok=True)


def rename(source: Path, target: Path) -> None:
    """Put a file or folder in another's place at once; the folder is not synced."""
    _about("rename", target)
    source.replace(target)


def remove(path: Path) -> None:
    """Remove a file; it may be gone already."""
    _about("remove", path)
    path.unlink(missing_ok=True)


def make_folder(folder: Path, *, mode: int = 0o755) -> None:
    """Create a folder and those above it, durably; all of them with ``mode``.

    Raises:
        StorageFull, OSError: As in write_atomic.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode=mode)
    with space_for(folder):
        _about("create", folder)
        folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's names durable.

    Raises:
        StorageFull, OSError: As in write_atomic.
    """
    _about("sync-dir", folder)
    with space_for(folder):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        except OSError as error:
            # Some network file systems cannot sync a folder; their server does.
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise
        finally:
            os.close(handle)


def remove_leftovers(folder: Path, *, before: float) -> None:
    """Remove temporary files a crash left in a folder, if last written before a POSIX time."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(TEMPORARY):
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        remove(Path(entry.path))


def disk_trouble(folder: Path) -> str:
    """Return why nothing, or soon nothing, can be written into a folder; empty where it can. Paths are not named.

    Quotas are found by writing.
    """
    place = next((each for each in (folder, *folder.absolute().parents) if each.is_dir()), None)
    if place is None:
        return "there is no folder"
    try:
        found = os.statvfs(place)
        if found.f_bavail * found.f_frsize < LEAST_FREE:
            return f"less than {LEAST_FREE >> 20} MiB are free"
        if found.f_files and not found.f_favail:
            return "no more files can be made"
        probe = temporary_beside(place / "disk")
        try:
            probe.write_bytes(bytes(4096))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return f"it cannot be written: {error.strerror}"
    return ""


def temporary_beside(path: Path) -> Path:
    """Name a temporary file in the same folder, unlike any other writer's."""
    name = path.name if len(path.name) < 200 else sha256(path.name.encode()).hexdigest()
    return path.with_name(f".{name}.{os.getpid()}-{next(_counter)}{TEMPORARY}")


def digest_file(path: Path) -> str:
    """Name a file's bytes by their sha256, as ``sha256:…``."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


@contextlib.contextmanager
def space_for(path: Path) -> Iterator[None]:
    """Turn "no space" and a failing disk into StorageFull with the path; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"cannot write {path}: {error.strerror}",
                hint="the disk or the share failed: check it, then run it again"
                if error.errno == errno.EIO
                else "free space there (edgewright gc removes what nothing refers to), then run it again",
            ) from error
        raise


def _write_new(path: Path, data: bytes, mode: int) -> None:
    _about("create", path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb", buffering=0) as file:
        _about("write", path)
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        _about("sync", path)
        os.fsync(file.fileno())


def _link(source: Path, target: Path) -> bool:
    mode = source.lstat().st_mode
    if not stat.S_ISREG(mode) or mode & 0o444 != 0o444:
        return False
    _about("link", target)
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise
    return True


def _copy(source: Path, target: Path) -> None:
    _about("create", target)
    with source.open("rb") as reader, target.open("xb") as writer:
        _about("write", target)
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        _about("sync", target)
        os.fsync(writer.fileno())


def _about(operation: str, path: Path) -> None:
    if _watch is not None:
        _watch(operation, path)
