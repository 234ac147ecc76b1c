"""Opens ports behind HTTP. Called by ``wiring`` and the command ``enroll``."""

import random
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from edgewright_agent.background import Background, Caller, directly
from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotEnrolled
from edgewright_agent.http.client import HttpClient
from edgewright_agent.identity.enrollment_client import Enroller, NoIdentities
from edgewright_agent.identity.files import Identity, IdentityFiles
from edgewright_agent.limits import FetchLimits
from edgewright_agent.repository.http_transport import HttpReports, HttpRepository, wall_clock
from edgewright_agent.repository.pacing import Pace
from edgewright_agent.repository.watcher import RepositoryWatch
from edgewright_agent.settings import Settings
from edgewright_wire.enrollment import EnrollmentRequest


class HttpOpener:
    """Opens ports that share one pace and one thread for what blocks.

    Args:
        settings: As in agent.toml.
        disk: For durable writes.
        limits: Counts what blobs cost.
        stopped: Whether to give up waiting for a network.
    """

    def __init__(self, settings: Settings, disk: Disk, limits: FetchLimits, stopped: Callable[[], bool]) -> None:
        self._settings = settings
        self._disk = disk
        self._limits = limits
        self._pace = Pace(settings.poll)
        self._call = Background(stopped)

    def repository(self) -> HttpRepository:
        """Open the repository.

        Raises:
            SettingsError: ``ca`` cannot be read; so do the others.
        """
        client = self._client("RepositoryUnreachable", None, self._call)
        return HttpRepository(self._settings.repository, client, self._discarded, self._pace.heard)

    def watch(self) -> RepositoryWatch:
        """Make a watch over the repository; it calls from its own thread."""
        client = self._client("RepositoryUnreachable", None, directly)
        return RepositoryWatch(self._settings.repository, client, self._pace, self._settings.long_poll, random.random)

    def reports(self) -> HttpReports:
        """Open the report drop; a device is known there by its certificate, which plain HTTP does not carry."""
        encrypted = urlsplit(self._settings.reports).scheme == "https"
        return HttpReports(
            self._settings.reports,
            self.enroller() if encrypted else NoIdentities(),
            lambda identity: self._client("ReportsUnreachable", identity, self._call),
            self._pace.heard,
        )

    def enroller(self) -> Enroller:
        """Make what enrolls the device."""
        return Enroller(
            self._settings.server,
            IdentityFiles(self._settings.directory, self._settings.device, self._disk),
            lambda identity: self._client("ServerUnreachable", identity, self._call),
            self._request,
            wall_clock,
            time.monotonic,
        )

    def _request(self, csr: str) -> EnrollmentRequest:
        settings = self._settings
        return EnrollmentRequest(
            device=settings.device,
            labels=dict(settings.labels),
            device_class=settings.device_class,
            csr=csr,
            token=_token(settings),
        )

    def _client(self, reason: str, identity: Identity | None, call: Caller) -> HttpClient:
        return HttpClient(reason, self._settings.timeout, self._settings.ca, identity, call)

    def _discarded(self, size: int) -> None:
        self._limits.fetched(size, time.monotonic())


def _token(settings: Settings) -> str | None:
    if settings.token_file is None:
        return None
    try:
        return settings.token_file.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        message = f"token_file = {str(settings.token_file)!r}: cannot be read: {error}"
        raise NotEnrolled("NotEnrolled", message) from error
