"""The services of the agent API, one for each environment, made when its first agent asks. Assembled by ``serving``."""

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgewright.errors import DeliveryError, StateUnavailable
from edgewright.wiring.device_services import EnvironmentContext, EnvironmentServices

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.server.devices.agent_service import AgentService


class AgentServices:
    """The services of agents. As a context manager it closes them, within that of the server, so that no poll is held.

    Args:
        contexts: Finds the contexts of environments.
        served: Returns the environments that this process serves now.
        life: How long devices' certificates are valid.
    """

    def __init__(self, contexts: EnvironmentServices, served: Callable[[], Collection[str]], life: timedelta) -> None:
        self._contexts = contexts
        self._served = served
        self._life = life
        self._lock = threading.Lock()
        self._around: dict[str, EnvironmentContext] = {}
        self._services: dict[str, tuple[Path, Path, AgentService]] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End them."""
        with self._lock:
            for _, _, service in self._services.values():
                service.__exit__(None, None, None)
            self._services.clear()

    def find(self, environment: str) -> "AgentService | None":
        """Find an environment's service; it is made anew where the specs name other folders than before.

        Raises:
            StateUnavailable: Nothing is in force there yet.
            EdgewrightError: The store or the repository cannot be read.
        """
        served = self._served()
        around = self._contexts.find(environment, environment in served)
        if around is None:
            if environment in served or not served:
                raise StateUnavailable("nothing is in force yet", hint="agents are served from the first revision on")
            return None
        with self._lock:
            self._around[environment] = around
            known = self._services.get(environment)
            if known is None or known[:2] != (around.repository, around.keys):
                if known is not None:
                    known[2].__exit__(None, None, None)
                known = around.repository, around.keys, self._make(around).__enter__()
                self._services[environment] = known
            return known[2]

    def _make(self, around: EnvironmentContext) -> "AgentService":
        from edgewright.server.devices.agent_service import AgentService

        name = around.environment

        def listed(device: str) -> bool:
            return self._around[name].listed(device)

        return AgentService(
            environment=name,
            repository=around.repository,
            keys=around.keys,
            identities=around.identities,
            registry=around.registry,
            inbox=around.inbox,
            devices=lambda: len(self._around[name].routes()),
            listed=listed,
            wake=around.wake,
            clock=around.clock,
            life=self._life,
        )


def authorities(folders: Collection[Path]) -> bytes:
    """Read the authorities of devices' certificates (PEM), as far as they are there: TLS asks clients for theirs."""
    from edgewright.delivery.identity.credentials import load_devices_ca

    found = []
    for folder in sorted(set(folders)):
        with suppress(DeliveryError):  # said when a device asks
            found.append(load_devices_ca(folder).certificate_pem)
    return b"".join(found)
