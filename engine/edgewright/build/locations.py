"""Finds what a dataset's source URI names: in the checkout, beside it on disk, or at any URL fsspec opens.

``dataset_readers`` reads what is there; ``sources`` digests it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from edgewright.errors import StepFailed


@dataclass(frozen=True, slots=True)
class Location:
    """A file or folder of a file system that fsspec opens."""

    filesystem: Any
    """fsspec.AbstractFileSystem."""
    path: str
    """In the file system's own form."""
    shown: str
    """As the spec writes it, for messages."""

    def open(self, relative: str = "") -> BinaryIO:
        """Open the file, or a file below the folder."""
        return cast(BinaryIO, self.filesystem.open(self.join(relative), "rb"))

    def join(self, relative: str) -> str:
        """Name a file below the folder."""
        return f"{self.path.rstrip('/')}/{relative}" if relative else self.path

    def exists(self) -> bool:
        """Whether something is there."""
        return bool(self.filesystem.exists(self.path))

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self.filesystem.isdir(self.path))

    def files(self) -> list[str]:
        """List every file below the folder, relative to it, sorted."""
        prefix = self.path.rstrip("/") + "/"
        return sorted(name.removeprefix(prefix) for name in self.filesystem.find(self.path))


def is_url(uri: str) -> bool:
    """Tell a URL from a path."""
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
    if not found.exists():
        raise StepFailed(f"the source {uri} is not there", hint="check the URL, and that your credentials may read it")
    return found
