"""Blobs on the device, by digest, and fetching them resumably. Called by ``agent``.

``<hex>`` is a whole blob, checked; ``<hex>.part`` is one begun, continued from its length. A digest that does not
match at the end discards the part: a power cut or a bad copy costs a fetch, never a wrong model.

A blob is fetched in slices, so that the agent looks after everything else meanwhile; between two of them the way to
the repository stays open.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgewright_agent.durable import Disk
from edgewright_agent.errors import Changed, TransportError, Untrusted, local_error
from edgewright_agent.limits import FetchLimits
from edgewright_agent.repository.transport import RepositoryReader
from edgewright_wire.canonical import DIGEST_PREFIX, digest_bytes, hex_of
from edgewright_wire.layout import blob_path
from edgewright_wire.messages import Blob

PART = ".part"
AT_ONCE = 16 * 1024 * 1024
SLICE_SECONDS = 1.0
"""Bytes and seconds per call of ``fetch``: how long the agent's loop looks at nothing else."""


@dataclass(slots=True)
class _Stream:
    """A blob on its way."""

    digest: str
    offset: int
    """Where its next byte belongs."""
    chunks: Iterator[bytes]


class Blobs:
    """The blob directory.

    Args:
        directory: Where it is.
        disk: For durable writes.
        limits: How fast blobs may come.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        limits: FetchLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._limits = limits or FetchLimits()
        self._clock = clock
        self._stream: _Stream | None = None

    def path(self, digest: str) -> Path:
        """Return the path of a whole blob, present or not."""
        return self._directory / hex_of(digest)

    def listed(self) -> tuple[frozenset[str], frozenset[str]]:
        """Digests of what is here, whole or begun; and of what is whole."""
        if not self._directory.is_dir():
            return frozenset(), frozenset()
        names = [path.name for path in self._directory.iterdir()]
        begun = {DIGEST_PREFIX + name.removesuffix(PART) for name in names if not name.startswith(".")}
        return frozenset(begun), frozenset(DIGEST_PREFIX + name for name in names if "." not in name)

    def clean_up(self) -> None:
        """Remove what a crash left half written; called before anything else is.

        Raises:
            LocalError: The disk refuses.
        """
        try:
            for left in self._directory.glob(".*.new"):
                self._disk.unlink(left)
        except OSError as error:
            raise local_error(error, "cleaning up blobs") from error

    def read(self, digest: str) -> bytes | None:
        """Read and check a small blob; one that does not match is discarded.

        Raises:
            OSError: The disk refuses.
        """
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            return None
        if digest_bytes(data) == digest:
            return data
        self._disk.unlink(self.path(digest))
        return None

    def put(self, digest: str, data: bytes) -> None:
        """Store a small blob whose digest has been checked.

        Raises:
            LocalError: The disk refuses.
        """
        try:
            self._disk.make_directory(self._directory)
            self._disk.write(self.path(digest), data)
        except OSError as error:
            raise local_error(error, f"storing {digest}") from error

    def check(self, blob: Blob) -> None:
        """Check a whole blob once more before it is used; one that does not match is discarded.

        Raises:
            Untrusted: It does not match any more.
            LocalError: The disk refuses.
        """
        path = self.path(blob.digest)
        try:
            if digest_of_file(path) != blob.digest:
                self._disk.unlink(path)
                raise Untrusted("DigestMismatch", f"{blob.digest}: its bytes changed on the device; fetching it again")
        except OSError as error:
            raise local_error(error, f"reading {path}") from error

    def fetch(self, blob: Blob, reader: RepositoryReader, stopped: Callable[[], bool]) -> bool:
        """Fetch a blob, or some more of it.

        Returns:
            Whether it is whole now.

        Raises:
            Untrusted: The bytes are not the promised ones, or do not end where promised; the part is discarded.
            TransportError: The repository cannot be read; the part stays, unless the file is another one now.
            LocalError: The disk refuses; the part stays.
        """
        part = self.path(blob.digest).with_name(hex_of(blob.digest) + PART)
        try:
            self._disk.make_directory(self._directory)
            have = part.stat().st_size if part.exists() else 0
            if have < blob.size or not part.exists():
                have = self._slice(blob, part, have, reader, stopped)
            if have < blob.size:
                return False
            if have > blob.size or digest_of_file(part) != blob.digest:
                self._disk.unlink(part)
                raise Untrusted(
                    "DigestMismatch",
                    f"{blob_path(blob.digest)} does not hold the bytes of its digest",
                )
            self._disk.sync_file(part)
            self._disk.rename(part, self.path(blob.digest))
        except OSError as error:
            raise local_error(error, f"fetching {blob.digest}") from error
        return True

    def _slice(self, blob: Blob, part: Path, have: int, reader: RepositoryReader, stopped: Callable[[], bool]) -> int:
        stream = self._stream
        if stream is None or (stream.digest, stream.offset) != (blob.digest, have):
            self.hang_up()
            self._disk.append(part, b"", have)
            stream = _Stream(blob.digest, have, reader.read(blob_path(blob.digest), have))
        self._stream, more = stream, False
        try:
            more = self._more(blob, part, stream, stopped)
        except Changed:
            self._disk.unlink(part)
            raise
        finally:
            if not more:
                self.hang_up()
        return stream.offset

    def _more(self, blob: Blob, part: Path, stream: _Stream, stopped: Callable[[], bool]) -> bool:
        """Take from the stream; returns whether more of it is to come."""
        enough, until = stream.offset + AT_ONCE, self._clock() + SLICE_SECONDS
        for chunk in stream.chunks:
            if stream.offset + len(chunk) > blob.size:
                self._disk.unlink(part)
                raise Untrusted(
                    "DigestMismatch", f"{blob_path(blob.digest)} is longer than the promised {blob.size} bytes"
                )
            self._disk.append(part, chunk, stream.offset)
            stream.offset += len(chunk)
            more = self._limits.fetched(len(chunk), self._clock())
            if stream.offset < blob.size and (
                stopped() or not more or stream.offset >= enough or self._clock() >= until
            ):
                return True
        if stream.offset < blob.size:
            raise TransportError(
                "FetchFailed",
                f"{blob_path(blob.digest)} ended at byte {stream.offset} of {blob.size}; continuing there later",
            )
        return False

    def hang_up(self) -> None:
        """Give up the way to the repository that a blob is coming by; it goes on from where it is later."""
        if self._stream is not None and isinstance(self._stream.chunks, Generator):
            self._stream.chunks.close()
        self._stream = None

    def forget(self, digests: frozenset[str]) -> None:
        """Remove blobs, whole or begun.

        Raises:
            LocalError: The disk refuses.
        """
        try:
            for digest in sorted(digests):
                name = digest.removeprefix(DIGEST_PREFIX)
                for path in (self._directory / name, self._directory / (name + PART)):
                    if path.exists():
                        self._disk.unlink(path)
        except OSError as error:
            raise local_error(error, "cleaning up blobs") from error


def digest_of_file(path: Path) -> str:
    """Name a file's bytes by their sha256.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return DIGEST_PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
