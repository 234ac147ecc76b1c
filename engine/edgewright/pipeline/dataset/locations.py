"""Finds what a dataset's source URI names: in the checkout, beside it on disk, or at any URL fsspec opens.

``readers`` reads what is there; ``source_index`` digests it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from edgewright.errors import SourceUnavailable, StepFailed


@dataclass(frozen=True, slots=True)
class Location:
    """A file or folder of a file system that fsspec opens."""

    filesystem: Any
    """fsspec.AbstractFileSystem."""
    path: str
    """In the file system's own form."""
    shown: str
    """As the spec writes it, for messages."""

    def open(self, relative: str = "") -> BufferedReader:
        """Open the file, or a file below the folder.

        Raises:
            FileNotFoundError: It is not there.
            SourceUnavailable: A remote did not answer.
        """
        with self._answering():
            return cast(BufferedReader, self.filesystem.open(self.join(relative), "rb"))

    def read(self, relative: str = "") -> bytes:
        """Read the file, or a file below the folder.

        Raises:
            FileNotFoundError, SourceUnavailable: As in open.
        """
        with self._answering(), self.filesystem.open(self.join(relative), "rb") as stream:
            return cast(bytes, stream.read())

    def join(self, relative: str) -> str:
        """Name a file below the folder."""
        return f"{self.path.rstrip('/')}/{relative}" if relative else self.path

    def info(self) -> dict[str, Any]:
        """Return what the file system knows about it.

        Raises:
            FileNotFoundError, SourceUnavailable: As in open.
        """
        with self._answering():
            return dict(self.filesystem.info(self.path))

    def is_folder(self) -> bool:
        """True when it is a folder."""
        with self._answering():
            return bool(self.filesystem.isdir(self.path))

    def is_remote(self) -> bool:
        """True when it is anywhere but on this machine's disks."""
        return "file" not in self.filesystem.protocol

    def files(self) -> list[str]:
        """List every file below the folder, relative to it, sorted."""
        return sorted(self.listing())

    def listing(self) -> dict[str, dict[str, Any]]:
        """Return what the file system knows about every file below the folder, by name relative to it.

        Raises:
            FileNotFoundError, SourceUnavailable: As in open.
        """
        prefix = self.path.rstrip("/") + "/"
        with self._answering():
            found = self.filesystem.find(self.path, detail=True)
        return {name.removeprefix(prefix): info for name, info in found.items()}

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if error.__cause__ is None or getattr(error.__cause__, "status", 0) in (404, 410):
                raise
            # fsspec's HTTP says "not found" for whatever went wrong, and keeps what it was as the cause.
            raise self._silent(error.__cause__) from error
        except Exception as error:
            # Each protocol's library has errors of its own; a local file's are OSErrors that say enough.
            if not self.is_remote():
                raise
            raise self._silent(error) from error

    def _silent(self, error: BaseException) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self.shown} did not answer: {type(error).__name__}: {error}",
            hint="check the network, and that your credentials may read it",
        )


def is_url(uri: str) -> bool:
    """Return whether a location is a URL and no path."""
    return "://" in uri or uri.startswith(("memory:", "file:"))


def local_path(uri: str, folder: Path) -> Path | None:
    """Return the path on this machine that a URI names, relative ones below ``folder``; None for a remote URL."""
    if uri.startswith("file:"):
        return Path("/" + uri.removeprefix("file:").lstrip("/"))
    return None if is_url(uri) else folder / uri


def locate(uri: str, *folders: Path) -> Location:
    """Find a URI; a relative path is looked for in each folder in turn.

    Raises:
        StepFailed: Nothing is there, or a library for the URL's protocol is missing.
        SourceUnavailable: A remote did not answer.
    """
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    if local_path(uri, Path()) is not None:
        for folder in folders:
            path = local_path(uri, folder)
            if path is not None and path.exists():
                return Location(LocalFileSystem(), path.absolute().as_posix(), uri)
        raise StepFailed(
            f"the source {uri} is not there",
            hint="it is neither in the repository at this revision nor a path on this machine; is it committed?",
        )
    try:
        filesystem, path = url_to_fs(uri)
    except ImportError as error:
        raise StepFailed(f"cannot read {uri}: {error}") from error
    except ValueError as error:
        raise StepFailed(f"cannot read {uri}: {error}", hint="use a protocol that fsspec knows") from error
    found = Location(filesystem, path, uri)
    try:
        found.info()
    except FileNotFoundError:
        raise StepFailed(
            f"the source {uri} is not there", hint="check the URL, and that your credentials may read it"
        ) from None
    return found
