"""A blob store in memory, for tests of what is driven through ports.BlobStore; passes tests/contract/blobs too."""

from pathlib import Path

from edgewright.core.artifact import FileRef
from edgewright.errors import BlobCorrupt
from edgewright_wire.canonical import digest_bytes, hex_of


class InMemoryBlobs:
    """Implements ports.BlobStore. Files appear in a folder only when their path is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.contents: dict[str, bytes] = {}
        """Bytes by digest; a test may damage or remove them."""
        self.set_aside: dict[str, bytes] = {}

    def has(self, digest: str) -> bool:
        hex_of(digest)
        return bool(self.contents.get(digest)) or (digest in self.contents and digest == digest_bytes(b""))

    def intact(self, digest: str) -> bool:
        return digest in self.contents and digest_bytes(self.contents[digest]) == digest

    def path(self, digest: str) -> Path:
        data = self.read(digest)
        place = self._folder / hex_of(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def read(self, digest: str) -> bytes:
        data = self.contents[digest]
        if digest_bytes(data) != digest:
            self.set_aside[digest] = self.contents.pop(digest)
            raise BlobCorrupt(digest)
        return data

    def put_file(self, path: Path) -> FileRef:
        return self.put_bytes(path.read_bytes())

    def put_bytes(self, data: bytes) -> FileRef:
        digest = digest_bytes(data)
        self.contents[digest] = data
        return FileRef(digest, len(data))
