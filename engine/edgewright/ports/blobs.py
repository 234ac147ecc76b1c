"""Content-addressed blobs. Implemented by ``artifacts``."""

from pathlib import Path
from typing import Protocol

from edgewright.core.artifact import FileRef


class BlobReader(Protocol):
    """Reads content-addressed blobs."""

    def has(self, digest: str) -> bool:
        """Check whether a blob is stored (by name and size; contents are checked when read)."""
        ...

    def intact(self, digest: str) -> bool:
        """Read the bytes again and compare; False also where nothing is stored. Nothing is set aside.

        Raises:
            StorageFull: The disk failed.
        """
        ...

    def path(self, digest: str) -> Path:
        """Return the path of a blob, whose bytes this process has checked against the digest at least once.

        Raises:
            BlobCorrupt: They do not match; the blob has been set aside.
            KeyError: It is not there.
        """
        ...

    def read(self, digest: str) -> bytes:
        """Read and check a blob.

        Raises:
            BlobCorrupt, KeyError: As in path.
        """
        ...


class BlobWriter(Protocol):
    """Stores content-addressed blobs durably (written beside, fsynced, renamed)."""

    def put_file(self, path: Path) -> FileRef:
        """Store a file's bytes.

        Raises:
            StorageFull: No space.
        """
        ...

    def put_bytes(self, data: bytes) -> FileRef:
        """Store bytes.

        Raises:
            StorageFull: No space.
        """
        ...


class BlobStore(BlobReader, BlobWriter, Protocol):
    """Both sides."""
