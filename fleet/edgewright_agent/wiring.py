"""Opens what an agent.toml names: the repository, the report drop, and the watch over the repository.

Called by ``commands``. What HTTP needs is imported only where it is spoken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgewright_agent.durable import Disk
from edgewright_agent.http.urls import is_http
from edgewright_agent.limits import FetchLimits
from edgewright_agent.repository.transport import ReportDrop, RepositoryReader, Watch, open_reports, open_repository
from edgewright_agent.settings import Settings


class StartableWatch(Watch, Protocol):
    """A watch that has not begun."""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin; ``wake`` is called, perhaps from another thread, when there is news."""
        ...

    def stop(self) -> None:
        """End."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedPorts:
    """The ways to the world."""

    repository: RepositoryReader
    reports: ReportDrop
    watch: StartableWatch | None
    """None where the repository has to be looked at."""


def open_all(settings: Settings, disk: Disk, limits: FetchLimits, stopped: Callable[[], bool]) -> OpenedPorts:
    """Open everything; nothing is asked yet.

    Args:
        settings: As in agent.toml.
        disk: For durable writes.
        limits: Counts what blobs cost.
        stopped: Whether to give up waiting for a network.

    Raises:
        SettingsError: A scheme is not known, or a file that is named cannot be read.
    """
    over_http = [is_http(settings.repository), is_http(settings.reports)]
    if not any(over_http):
        return OpenedPorts(open_repository(settings.repository), open_reports(settings.reports, disk), None)
    from edgewright_agent.http_wiring import HttpOpener

    http = HttpOpener(settings, disk, limits, stopped)
    return OpenedPorts(
        http.repository() if over_http[0] else open_repository(settings.repository),
        http.reports() if over_http[1] else open_reports(settings.reports, disk),
        http.watch() if over_http[0] else None,
    )
