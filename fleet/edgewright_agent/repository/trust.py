"""Trusted assignments and package manifests of a repository, verified by TUF.

python-tuf's Updater does the verification (signatures, thresholds, rollback, freeze, mix-and-match); this module
gives it bytes through a RepositoryReader and names what went wrong. Source: https://theupdateframework.github.io/specification/
Called by ``agent`` and ``commands.tuf``. Trusted metadata lives in one directory that python-tuf keeps.
"""

import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO
from urllib.parse import quote

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edgewright_agent.durable import Disk
from edgewright_agent.errors import AgentError, NotFound, SettingsError, TransportError, Untrusted, local_error
from edgewright_agent.repository.transport import RepositoryReader
from edgewright_agent.repository.trusted_time import TrustedTime
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.layout import METADATA, TARGETS, assignment_target, package_target

LOOK_AGAIN = timedelta(minutes=5)
"""An unchanged timestamp saves the whole refresh this long; expiry of the rest is noticed this late at most."""

IN_MEMORY = 8 * 1024 * 1024
"""Bytes of what is fetched for TUF; more of a target goes through a temporary file."""

FLOOR = "time-floor"
"""File beside the trusted metadata: the latest time at which it verified."""

_REASONS: tuple[tuple[type[Exception], str, str], ...] = (
    (
        tuf_errors.ExpiredMetadataError,
        "MetadataExpired",
        "is the device's clock right, is the repository kept fresh?",
    ),
    (tuf_errors.BadVersionNumberError, "MetadataRollback", "the repository shows an older state than was seen before"),
    (tuf_errors.UnsignedMetadataError, "MetadataUntrusted", "it is not signed by the keys this device trusts"),
    (tuf_errors.LengthOrHashMismatchError, "DigestMismatch", "the bytes are not the signed ones"),
    (tuf_errors.DownloadLengthMismatchError, "DigestMismatch", "more bytes than were signed"),
    (tuf_errors.DownloadHTTPError, "NotFound", "the repository is not complete"),
    (tuf_errors.DownloadError, "RepositoryUnreachable", "it cannot be read"),
    (tuf_errors.RepositoryError, "MetadataInvalid", "the repository has to be published again"),
)


_IN_A_PATH = "%/:@!$&'()*+,;="
"""What may stand in the path of a URL as it is, beside letters and digits (RFC 3986)."""


class _Fetcher(FetcherInterface):
    """Adapter of a RepositoryReader for python-tuf."""

    def __init__(self, reader: RepositoryReader) -> None:
        self._reader = reader

    def _fetch(self, url: str) -> Generator[bytes]:
        try:
            # python-tuf encodes the names of roles, and leaves those of targets as they are.
            yield from self._reader.read(quote(url, safe=_IN_A_PATH))
        except NotFound as error:
            raise tuf_errors.DownloadHTTPError(error.message, 404) from error
        except TransportError as error:
            raise tuf_errors.DownloadError(error.message) from error

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """As in FetcherInterface; but what is small does not need a folder for temporary files that has space."""
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file, closing(self._fetch(url)) as chunks:
            for chunk in chunks:
                if file.tell() + len(chunk) > max_length:
                    raise tuf_errors.DownloadLengthMismatchError(f"{url} is longer than {max_length} bytes")
                file.write(chunk)
            file.seek(0)
            yield file


class TrustedRepository:
    """A repository, as far as it can be believed.

    Args:
        directory: Where python-tuf keeps trusted metadata.
        root: The first root metadata, brought by whoever set the device up.
        reader: The way to the repository.
        now: The wall clock.
        monotonic: Seconds that go on however the wall clock is set.
        disk: Writes the time floor; by default the real one.
    """

    def __init__(
        self,
        directory: Path,
        root: bytes,
        reader: RepositoryReader,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        disk: Disk | None = None,
    ) -> None:
        self._directory = directory
        self._root = root
        self._reader = reader
        self._now = TrustedTime(directory / FLOOR, now, disk or Disk(), monotonic)
        self._updater: Updater | None = None
        self._refreshed_at: datetime | None = None
        self._assignment: bytes | None = None

    def assignment(self, device: str) -> bytes | None:
        """Read what is assigned to a device now; None when nothing is.

        Raises:
            Untrusted: The metadata does not verify; nothing changes.
            TransportError: The repository cannot be read.
            LocalError: The metadata cannot be kept.
        """
        if not self._unchanged():
            with _Naming():
                self._updater = None
                self._refreshed_at = None
                updater = self._open()
                self._assignment = _target(updater, assignment_target(device), self._directory)
                _make_durable(self._directory)
            self._updater = updater
            self._refreshed_at = self._now()
        return self._assignment

    def manifest(self, digest: str) -> bytes:
        """Read a package's manifest.

        Raises:
            Untrusted: The manifest is not signed, or not the one asked for.
            TransportError, LocalError: As in assignment.
        """
        try:
            with _Naming():
                data = _target(self._current(), package_target(digest), self._directory)
        except AgentError:
            self._updater = None
            self._refreshed_at = None
            raise
        if data is None:
            self._refreshed_at = None
            raise Untrusted("PackageUnsigned", f"package {digest}: the repository's package role signs no such package")
        if digest_bytes(data) != digest:
            raise Untrusted("DigestMismatch", f"package {digest}: the signed manifest has another digest")
        return data

    def refresh(self) -> None:
        """Take up the repository's newest state.

        Raises:
            Untrusted, TransportError, LocalError: As in assignment.
        """
        with _Naming():
            self._updater = self._open()
            _make_durable(self._directory)

    def fetch_target(self, path: str, place: Path, disk: Disk) -> None:
        """Download a target into a file atomically; skipped where the file holds it already.

        Raises:
            NotFound: No role signs such a target, or the repository does not have it.
            Untrusted, TransportError, LocalError: As in assignment.
        """
        with _Naming():
            updater = self._current()
            info = updater.get_targetinfo(path)
            _make_durable(self._directory)
            if info is None:
                raise NotFound("NotFound", f"{path}: the repository signs no such target")
            if updater.find_cached_target(info, str(place)) is None:
                beside = place.with_name(f".{place.name}.new")
                disk.make_directory(place.parent)
                updater.download_target(info, str(beside))
                disk.sync_file(beside)
                disk.rename(beside, place)

    def _current(self) -> Updater:
        if self._updater is None:
            self._updater = self._open()
        return self._updater

    def _open(self) -> Updater:
        self._directory.mkdir(parents=True, exist_ok=True)
        for left_by_a_crash in self._directory.glob("tmp*"):
            left_by_a_crash.unlink(missing_ok=True)
        updater = Updater(
            metadata_dir=str(self._directory),
            metadata_base_url=f"{METADATA}/",
            target_base_url=f"{TARGETS}/",
            fetcher=_Fetcher(self._reader),
            config=UpdaterConfig(prefix_targets_with_hash=True),
            bootstrap=self._root,
        )
        # python-tuf takes the wall clock, and offers no other way to give it another time.
        updater._trusted_set.reference_time = self._now()
        updater.refresh()
        self._now.verified()
        return updater

    def _unchanged(self) -> bool:
        """Return whether the newest timestamp is the one verified last, still valid, a short while ago.

        Raises:
            TransportError: The repository cannot be read.
        """
        now = self._now()
        if self._refreshed_at is None or not timedelta(0) <= now - self._refreshed_at < LOOK_AGAIN:
            return False
        try:
            kept = (self._directory / "timestamp.json").read_bytes()
            offered = b""
            for chunk in self._reader.read(f"{METADATA}/timestamp.json"):
                offered += chunk
                if len(offered) > len(kept):
                    return False
            return offered == kept and now < Metadata[Timestamp].from_bytes(kept).signed.expires
        except (OSError, NotFound, tuf_errors.RepositoryError):
            return False


class _Naming:
    """Turns python-tuf's errors into the agent's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        cause = error.__cause__ if isinstance(error, tuf_errors.DownloadError) else None
        if isinstance(cause, TransportError) and not isinstance(cause, NotFound):
            raise cause  # it names itself already
        for kind, reason, hint in _REASONS:
            if isinstance(error, kind):
                message = f"{str(error) or reason}: {hint}"
                if isinstance(error, tuf_errors.DownloadHTTPError):
                    raise NotFound(reason, message) from error
                if reason == "RepositoryUnreachable":
                    raise TransportError(reason, message) from error
                raise Untrusted(reason, message) from error
        if isinstance(error, OSError):
            raise local_error(error, "keeping trusted metadata") from error


def _target(updater: Updater, path: str, directory: Path) -> bytes | None:
    info = updater.get_targetinfo(path)
    if info is None:
        return None
    landing = directory / ".target"
    try:
        updater.download_target(info, str(landing))
        return landing.read_bytes()
    finally:
        landing.unlink(missing_ok=True)


def _make_durable(directory: Path) -> None:
    """Fsync what python-tuf renamed, so that a power cut cannot bring an older trusted state back."""
    for path in [*directory.glob("*.json"), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_root(data: bytes, where: str) -> None:
    """Check that bytes are root metadata, signed by its own keys.

    Raises:
        SettingsError: They are not.
    """
    try:
        root = Metadata[Root].from_bytes(data)
        if root.signed.type != Root.type:
            raise tuf_errors.RepositoryError(f"it is {root.signed.type} metadata")
        root.verify_delegate(Root.type, root)
    except (tuf_errors.RepositoryError, DeserializationError, ValueError) as error:
        raise SettingsError(f"{where}: no usable root metadata: {error}; take root.json from the repository") from error
