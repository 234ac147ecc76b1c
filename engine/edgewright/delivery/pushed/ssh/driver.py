"""Driver for devices reached over SSH: no agent runs there; the controller connects and pushes.

Made by ``wiring.registry``; ``attend`` runs the sessions, in the process that holds the lease.
"""

import getpass
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Route
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.errors import ConnectionFailed, DeviceError, Disconnected, Stopped, TimedOut
from edgewright.delivery.pushed.ssh.pool import SessionResult, SshPool
from edgewright.delivery.pushed.ssh.targets import SshTarget, resolve_target
from edgewright.delivery.pushed.ssh.twin_writes import BatchedTwinWrites
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.twin_driver import Routes, TwinDriver
from edgewright.errors import EdgewrightError
from edgewright.ports import TwinStore
from edgewright_wire.messages import Assignment

if TYPE_CHECKING:  # Fabric is imported when a device is connected to, not by a plan
    from edgewright.delivery.pushed.ssh.connection import Dialer

log = logging.getLogger(__name__)


class SshDriver(TwinDriver):
    """Implements ports.Driver.

    Args:
        store: Keeps the twins.
        depot: The published packages and configurations.
        routes: Gives the route to every device.
        clock: Gives aware UTC times.
        keys: The controller's folder of keys.
        read_file: Reads a file of the repository, at the accepted commit; raises EdgewrightError if it is missing.
    """

    def __init__(
        self,
        store: TwinStore,
        depot: Depot,
        routes: Routes,
        clock: Callable[[], datetime],
        keys: Path,
        read_file: Callable[[str], bytes],
    ) -> None:
        super().__init__("ssh", store, depot, routes, clock)
        self._keys = keys
        self._read_file = read_file
        self._pool: SshPool | None = None
        self._twin_writes = BatchedTwinWrites(store, self.system)

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """As in TwinDriver; sessions with the devices start at once."""
        super().assign(assignments, configs)
        self._refresh_pool()

    def cancel(self, devices: Collection[str]) -> None:
        """As in TwinDriver."""
        super().cancel(devices)
        self._refresh_pool()

    def retire(self, devices: Sequence[str]) -> None:
        """As in TwinDriver."""
        super().retire(devices)
        self._refresh_pool()

    @contextmanager
    def attend(self, wake: Callable[[], None]) -> Iterator[None]:
        """Run sessions with the devices that are due, within the block."""
        pool = SshPool(self.store, self.routes, self.run_session, self.clock, wake)
        pool.start()
        self._pool = pool
        try:
            yield
        finally:
            self._pool = None
            pool.stop()

    def _refresh_pool(self) -> None:
        if (pool := self._pool) is not None:
            pool.refresh()

    def run_session(self, route: Route, deadline: Deadline) -> SessionResult:
        """Run one session with a device. What is wrong with it is recorded in its twin; nothing is raised for that.

        Args:
            route: The route to it.
            deadline: Ends the session.
        """
        from edgewright.delivery.pushed.ssh.session import Session

        device = route.device.id
        before = self.store.twin(device)
        problem: DeviceError | None = None
        session: Session | None = None
        try:
            target = self._target(route)
            session = Session(target, self._twin_writes, self.depot, self._dialer, self.clock, deadline)
            session.run()
        except DeviceError as error:
            problem = error
        except Stopped:
            return SessionResult(failed=False, twin=None)
        except EdgewrightError as error:
            log.warning("%s: %s%s", device, error.message, f" ({error.hint})" if error.hint else "")
            return SessionResult(failed=True, twin=self.store.twin(device))
        after = self.store.twin(device)
        if problem is not None:
            reason, message = problem.reason, problem.message
            after = self._twin_writes.change(device, lambda twin: twins.with_problem(twin, reason, message))
            if before is None or before.reason != reason:
                log.warning("%s: %s: %s", device, reason, message)
        news = after is not None and after.sequence != (before.sequence if before is not None else 0)
        # An upload that was interrupted after some progress is continued at once.
        continues = isinstance(problem, (TimedOut, Disconnected)) and session is not None and session.sent > 0
        return SessionResult(failed=problem is not None and not continues, twin=after, news=news)

    def _target(self, route: Route) -> SshTarget:
        try:
            return resolve_target(route, _own_user())
        except ValueError as error:
            message = f"fleet {route.fleet}, device {route.device.id}: {error}"
            raise ConnectionFailed("Misconfigured", message) from error

    @cached_property
    def _dialer(self) -> "Dialer":
        from edgewright.delivery.pushed.ssh.connection import Dialer
        from edgewright.delivery.pushed.ssh.keyring import Keyring

        return Dialer(Keyring(self._keys), self._read_file)


def _own_user() -> str:
    """Return the name of the controller's user; a container may not know it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "root"
