"""The server side of agents for one environment: what ``agent_app`` answers their calls from. Made by ``cli``."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from edgewright.delivery.identity.admission import DeviceRegistry
from edgewright.delivery.identity.certificates import CertifiedDevice, check_certificate
from edgewright.delivery.identity.credentials import DevicesCA, load_devices_ca
from edgewright.delivery.identity.enrollment import LIFE, Enrollment
from edgewright.ports import IdentityStore, ReportInbox
from edgewright.server.devices.report_intake import Intake
from edgewright.server.devices.repository_files import RepositoryFiles
from edgewright.server.devices.repository_polls import Polls


class AgentService:
    """Serves the agents of one environment. As a context manager it works within the block.

    Args:
        environment: Its name; empty for a repository without environments.
        repository: The published repository's folder; it may not be there yet.
        keys: The folder of keys; read when the first device needs one of them.
        identities: Who is believed.
        registry: Which devices there are.
        inbox: Takes their reports.
        devices: How many devices there are; asked now and then, on a thread.
        listed: Whether a device's place in the inventory lets it in.
        wake: Told that there is news for rollouts, on a thread.
        clock: Gives aware UTC times.
        life: How long certificates hold.
    """

    def __init__(
        self,
        *,
        environment: str,
        repository: Path,
        keys: Path,
        identities: IdentityStore,
        registry: DeviceRegistry,
        inbox: ReportInbox,
        devices: Callable[[], int],
        listed: Callable[[str], bool],
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        life: timedelta = LIFE,
    ) -> None:
        self.environment = environment
        self.files = RepositoryFiles(repository)
        self.enrollment = Enrollment(identities, registry, self._authority, listed, clock, life=life)
        self.polls = Polls(repository, devices)
        self.intake = Intake(inbox, identities, wake, clock)
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded: DevicesCA | None = None
        self.ended = False
        """Whether it works no more."""

    def __enter__(self) -> Self:
        """Begin."""
        self.polls.start()
        self.intake.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release every held poll, and write the reports that were accepted."""
        self.ended = True
        self.polls.close()
        self.intake.close()

    def caller(self, certificate: str) -> CertifiedDevice:
        """Authenticate a certificate; returns the device it belongs to.

        Raises:
            NotTrusted: Nobody's here.
            DeliveryError: The authority cannot be used.
        """
        return check_certificate(self._authority(), certificate, self._clock())

    def _authority(self) -> DevicesCA:
        with self._lock:
            if self._loaded is None:
                self._loaded = load_devices_ca(self._keys)
            return self._loaded
