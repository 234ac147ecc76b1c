"""Every durable write of the agent. Nothing else in the package writes files, except python-tuf's metadata cache.

A file is written beside, fsynced, renamed over its name, and its directory is fsynced; so after a power cut each name
holds the old bytes or the new, whole. ``on_durable`` is called right before each operation on the disk, with a word
for it: proofs count these points and cut the power at each.
"""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

_LEFT = 3600.0
"""Seconds after which a file that was never renamed is one that a power cut left."""


def _nothing(_operation: str) -> None:
    """Do nothing: the hook when nobody listens."""


class Disk:
    """Durable operations.

    Args:
        on_durable: Called right before each operation.
        sync: How a file descriptor is made durable.
    """

    def __init__(self, on_durable: Callable[[str], None] = _nothing, sync: Callable[[int], None] = os.fsync) -> None:
        self._before = on_durable
        self._tidied: set[Path] = set()
        self._sync = sync

    def write(self, path: Path, data: bytes, mode: int | None = None) -> None:
        """Replace a file's bytes, whole or not at all.

        Args:
            path: The file.
            data: All of it.
            mode: Who may read it, from its first byte on; as the process makes files where it is not given.

        Raises:
            OSError: The disk refuses.
        """
        beside = path.with_name(f".{path.name}.new")
        self._before(f"write {beside.name}")
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        self._write_new(beside, data, mode)
        self.rename(beside, path)

    def write_shared(self, path: Path, data: bytes) -> None:
        """Replace a file's bytes in a folder that others write too, whole or not at all.

        It is written under a name that nobody can foresee, which must be new; a link is never followed.

        Raises:
            OSError: The disk refuses.
        """
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        self._before(f"write .{path.name}.new")
        if path not in self._tidied:  # once: the folder may hold the files of thousands
            self._remove_leftovers(path)
            self._tidied.add(path)
        try:
            self._write_new(beside, data, None)
            self.rename(beside, path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise

    def _write_new(self, path: Path, data: bytes, mode: int | None) -> None:
        """Write a file that must not be there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, mode or 0o666), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            self._sync(file.fileno())

    def _remove_leftovers(self, path: Path) -> None:
        """Remove what power cuts have left of this user's writes of a file in a shared folder, once it is old."""
        with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
            for entry in entries:
                if not (entry.name.startswith(f".{path.name}.") and entry.name.endswith(".new")):
                    continue
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid == os.geteuid() and status.st_mtime < time.time() - _LEFT:
                        Path(entry.path).unlink()

    def append(self, path: Path, data: bytes, offset: int) -> None:
        """Put bytes at an offset of a file that grows; not synced until ``sync_file``.

        Raises:
            OSError: The disk refuses.
        """
        self._before(f"append {path.name}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.seek(offset)
            file.write(data)

    def sync_file(self, path: Path) -> None:
        """Make a file's bytes durable.

        Raises:
            OSError: The disk refuses.
        """
        self._before(f"fsync {path.name}")
        with path.open("rb") as file:
            self._sync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Give a synced file its name.

        Raises:
            OSError: The disk refuses.
        """
        self._before(f"rename {target.name}")
        source.replace(target)
        self._sync_directory(target.parent)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name, replacing what had it; a copy where the filesystem has no hard links.

        Raises:
            OSError: The disk refuses.
        """
        beside = target.with_name(f".{target.name}.new")
        self._before(f"link {target.name}")
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        try:
            os.link(source, beside)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK}:
                raise
            self.write(target, source.read_bytes())
            return
        self.rename(beside, target)
        # rename(2) does nothing when both names are the same file already, and leaves the first name behind.
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()

    def point(self, link: Path, target: str) -> None:
        """Make a symbolic link point elsewhere, in one step.

        Raises:
            OSError: The disk refuses.
        """
        beside = link.with_name(f".{link.name}.new")
        self._before(f"symlink {link.name}")
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        beside.symlink_to(target)
        self.rename(beside, link)

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there.

        Raises:
            OSError: The disk refuses.
        """
        self._before(f"unlink {path.name}")
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            self._sync_directory(path.parent)

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents.

        Raises:
            OSError: The disk refuses.
        """
        if path.is_dir():
            return
        self.make_directory(path.parent)
        self._before(f"mkdir {path.name}")
        path.mkdir(exist_ok=True)
        self._sync_directory(path.parent)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory, if it is there.

        Raises:
            OSError: The disk refuses.
        """
        self._before(f"rmdir {path.name}")
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()
            self._sync_directory(path.parent)

    def _sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._sync(descriptor)
        finally:
            os.close(descriptor)
