"""Reaching a published repository and a report drop: the Protocols, and ``file://`` behind them.

A share, a mounted stick or an air-gapped disk is enough; ``http_transport`` has what is behind HTTP. All pass
``tests/contract/transport``. ``trust`` reads metadata through a RepositoryReader, ``blobs`` reads packages through it;
``agent`` sends reports to a ReportDrop.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotFound, SettingsError, TransportError
from edgewright_agent.http.urls import is_http
from edgewright_wire.layout import report_name

CHUNK = 256 * 1024


class RepositoryReader(Protocol):
    """Reads files of a published repository."""

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """Yield a file's bytes from an offset on, in chunks of any size.

        The path is that of a URL below the repository's: what is not allowed there is percent-encoded in it.
        Nothing is yielded at or beyond the end. The first chunk may only be asked for much later.

        Raises:
            NotFound: There is no such file, or its path leads out of the repository.
            TransportError: The repository cannot be reached, or breaks off.
        """
        ...


class Watch(Protocol):
    """Notices that a repository changed, so that nobody has to look."""

    def changed(self) -> bool:
        """Return whether something changed since the last call."""
        ...


class ReportDrop(Protocol):
    """Takes reports."""

    def send(self, device: str, report: bytes) -> None:
        """Replace the device's report by a newer one, whole or not at all.

        Raises:
            TransportError: It was not taken.
        """
        ...


class DirectoryRepository:
    """A published repository in a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """As in RepositoryReader."""
        pure = PurePosixPath(unquote(path))
        if pure.is_absolute() or ".." in pure.parts:
            raise NotFound("NotFound", f"{path}: not a path inside the repository")
        try:
            with _opened(self._root, pure) as file:
                file.seek(offset)
                while chunk := file.read(CHUNK):
                    yield chunk
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if not self._root.is_dir():
                raise TransportError(
                    "RepositoryUnreachable", f"{self._root}: there is no directory; is the share mounted?"
                ) from error
            raise NotFound("NotFound", f"{self._root / pure}: not in the repository") from error
        except OSError as error:
            raise TransportError(
                "RepositoryUnreachable", f"cannot read {self._root / pure}: {error}; is the share mounted?"
            ) from error


class DirectoryDrop:
    """A directory that holds each device's newest report."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root
        self._disk = disk

    def send(self, device: str, report: bytes) -> None:
        """As in ReportDrop."""
        try:
            self._disk.make_directory(self._root)
            self._disk.write_shared(self._root / report_name(device), report)
        except OSError as error:
            raise TransportError("ReportsUnreachable", f"cannot write a report into {self._root}: {error}") from error


def _opened(root: Path, path: PurePosixPath) -> BinaryIO:
    """Open a file of a folder that others may write: links must stay in it, and nothing is waited for.

    Raises:
        FileNotFoundError: There is none, or it leads out of the folder.
        OSError: It cannot be opened.
    """
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()):
        raise FileNotFoundError(errno.ENOENT, "a link leads out of the repository", str(found))
    file = os.fdopen(os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(errno.ENOENT, "it is no regular file", str(found))
    return file


def file_url(text: str) -> str:
    """Turn a plain path into a ``file://`` URL; a URL stays as it is."""
    return text if "://" in text else Path(text).absolute().as_uri()


def open_repository(url: str) -> RepositoryReader:
    """Open the repository at a URL; over HTTP without anything that agent.toml could say of it.

    Raises:
        SettingsError: This scheme is not known.
    """
    if is_http(url):
        from edgewright_agent.http.client import HttpClient
        from edgewright_agent.repository.http_transport import HttpRepository

        return HttpRepository(url, HttpClient("RepositoryUnreachable"))
    return DirectoryRepository(_directory(url, "repository"))


def open_reports(url: str, disk: Disk) -> ReportDrop:
    """Open the report drop at a URL.

    Raises:
        SettingsError: This scheme is not known.
    """
    return DirectoryDrop(_directory(url, "reports"), disk)


def _directory(url: str, what: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise SettingsError(f"{what} = {url!r}: only file:///absolute/path and https:// are known here")
    return Path(unquote(parts.path))
