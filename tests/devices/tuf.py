"""A device's side of a published repository: python-tuf's own client, reading from a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from edgewright_wire.canonical import digest_bytes
from edgewright_wire.layout import METADATA, TARGETS, assignment_target, blob_path, package_target
from edgewright_wire.messages import Assignment


class FileFetcher(FetcherInterface):
    """Serves ``file://`` addresses; a file that is not there is HTTP's 404."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield Path(unquote(urlsplit(url).path)).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError(f"not found: {url}", 404) from None


class TufDevice:
    """Keeps what it trusts in ``home`` between calls, as a device does between updates."""

    def __init__(self, repository: Path, home: Path, root: bytes) -> None:
        self._repository = repository
        self._home = home
        self._root = root

    def assignment(self, device: str) -> Assignment | None:
        return self.assignments([device])[device]

    def assignments(self, devices: Iterable[str]) -> dict[str, Assignment | None]:
        """Those of several devices, as a site's cache holds them."""
        updater = self._refreshed()
        found = {device: _fetch(updater, assignment_target(device)) for device in devices}
        return {device: None if data is None else Assignment.from_bytes(data) for device, data in found.items()}

    def manifest(self, package: str) -> bytes | None:
        return _fetch(self._refreshed(), package_target(package))

    def blob(self, digest: str) -> bytes:
        data = (self._repository / blob_path(digest)).read_bytes()
        assert digest_bytes(data) == digest
        return data

    def _refreshed(self) -> Updater:
        """Refresh everything, as an agent's pass does."""
        metadata, downloads = self._home / "metadata", self._home / "targets"
        for folder in (metadata, downloads):
            folder.mkdir(parents=True, exist_ok=True)
        base = self._repository.absolute().as_uri()
        updater = Updater(
            str(metadata),
            f"{base}/{METADATA}/",
            str(downloads),
            f"{base}/{TARGETS}/",
            FileFetcher(),
            bootstrap=self._root,
        )
        updater.refresh()
        return updater


def _fetch(updater: Updater, path: str) -> bytes | None:
    info = updater.get_targetinfo(path)
    return None if info is None else Path(updater.download_target(info)).read_bytes()
