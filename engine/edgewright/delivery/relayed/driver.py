"""The delivery port over customers' own servers: a worker for each server that fleets name. Subclassed by ``hawkbit``
and ``mender``.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from edgewright.core.fleet.routes import Route
from edgewright.delivery.relayed.errors import Refused
from edgewright.delivery.relayed.twin_writes import TwinWrites
from edgewright.delivery.relayed.worker import Pace, Sync, Worker
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.twin_driver import Routes, TwinDriver
from edgewright.errors import EdgewrightError
from edgewright.ports import TwinStore
from edgewright.secret import Secret, named
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.notifications import SecretRef
from edgewright_wire.messages import Assignment

log = logging.getLogger(__name__)


class ServerDriver(TwinDriver, ABC):
    """Implements ports.Driver for servers of one kind.

    Args:
        system: As in ``delivery.type``.
        store: Keeps the twins.
        depot: The published repository.
        routes: Gives the route to every device.
        clock: Gives aware UTC times.
        secrets: Finds a secret by its name, or raises EdgewrightError.
        pace: Polling intervals.
    """

    def __init__(
        self,
        system: str,
        store: TwinStore,
        depot: Depot,
        routes: Routes,
        clock: Callable[[], datetime],
        *,
        secrets: Callable[[str], Secret] = named,
        pace: Pace | None = None,
    ) -> None:
        super().__init__(system, store, depot, routes, clock)
        self.secrets = secrets
        self.pace = pace or Pace()
        self._workers: dict[str, Worker] = {}
        self._wakeup = threading.Event()

    @abstractmethod
    def server_of(self, delivery: Delivery) -> str:
        """Return a name of the server and the account there: fleets with the same name share a worker."""

    @abstractmethod
    def connect(self, delivery: Delivery, writes: TwinWrites) -> Sync:
        """Open a server's sync; nothing is sent yet.

        Raises:
            EdgewrightError: A secret is missing, or cannot be used.
        """

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """As in TwinDriver; the servers are told at once."""
        super().assign(assignments, configs)
        self._wake()

    def cancel(self, devices: Collection[str]) -> None:
        """As in TwinDriver; the servers are told at once."""
        super().cancel(devices)
        self._wake()

    def retire(self, devices: Sequence[str]) -> None:
        """As in TwinDriver; the servers are told at once."""
        super().retire(devices)
        self._wake()

    @contextmanager
    def attend(self, wake: Callable[[], None]) -> Iterator[None]:
        """Work on the servers, within the block."""
        stop = threading.Event()
        threads: dict[str, threading.Thread] = {}
        dispatcher = threading.Thread(
            target=self._dispatch, args=(stop, wake, threads), name=f"edgewright {self.system}", daemon=True
        )
        dispatcher.start()
        try:
            yield
        finally:
            stop.set()
            self._wake()
            for thread in (dispatcher, *threads.values()):
                thread.join()
            self._workers.clear()

    def step(self) -> bool:
        """Make one pass over each server, without threads; return whether any changed anything.

        Raises:
            EdgewrightError: A server cannot be used now.
        """
        workers = self._current()
        for worker in workers:
            worker.make_pass()
        return any(worker.changed for worker in workers)

    def close(self) -> None:
        """End the connections that ``step`` has made."""
        for worker in self._workers.values():
            worker.close()

    def _dispatch(self, stop: threading.Event, wake: Callable[[], None], threads: dict[str, threading.Thread]) -> None:
        """Start a worker for each server, as fleets come to name it."""
        while not stop.is_set():
            self._wakeup.clear()
            try:
                for worker in self._current():
                    if worker.server not in threads:
                        thread = threading.Thread(
                            target=worker.run, args=(stop, wake), name=f"edgewright {worker.server}", daemon=True
                        )
                        threads[worker.server] = thread
                        thread.start()
                    worker.wake()
            except EdgewrightError as error:
                log.warning("%s: %s", self.system, error.message)
            self._wakeup.wait(self.pace.at_rest)
        for worker in list(self._workers.values()):
            worker.wake()

    def _current(self) -> list[Worker]:
        """Return the workers of the servers that fleets name now, or named before."""
        for route in self.routes().values():
            if route.delivery.type == self.system:
                server = self.server_of(route.delivery)
                if server not in self._workers:
                    self._workers[server] = Worker(
                        server, self.store, self.system, self._find, self.connect, self.clock, self.pace
                    )
        return list(self._workers.values())

    def _find(self, server: str) -> tuple[Mapping[str, Route], Mapping[str, Route]]:
        every = self.routes()
        mine = {
            device: route
            for device, route in every.items()
            if route.delivery.type == self.system and self.server_of(route.delivery) == server
        }
        return every, mine

    def _wake(self) -> None:
        self._wakeup.set()


def secret_of(secrets: Callable[[str], Secret], ref: SecretRef) -> Secret:
    """Find the secret that a fleet names.

    Raises:
        Refused: There is none.
    """
    try:
        return secrets(ref.secret)
    except EdgewrightError as error:
        raise Refused(error.message, hint=error.hint, reason="SecretMissing") from error
