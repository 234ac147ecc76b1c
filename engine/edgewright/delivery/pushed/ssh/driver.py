"""The driver for devices that are reached over SSH: nothing of ours listens or asks there; the controller pushes.

Made by ``cli``; ``attend`` goes to devices, in the process that holds the lease.
"""

import getpass
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.core.fleet.routes import Route
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.errors import Broken, NoWay, Stopped, TimedOut, Trouble
from edgewright.delivery.pushed.ssh.pool import Ended, SshPool
from edgewright.delivery.pushed.ssh.targets import Target, find_place
from edgewright.delivery.pushed.ssh.twin_writes import TwinWrites
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.twin_driver import Routes, TwinDriver
from edgewright.errors import EdgewrightError
from edgewright.ports import TwinStore
from edgewright_wire.messages import Assignment

if TYPE_CHECKING:  # what knows of Fabric is imported by who goes to devices, not by a plan
    from edgewright.delivery.pushed.ssh.connecting import Dialer

log = logging.getLogger(__name__)


class SshDriver(TwinDriver):
    """Implements ports.Driver.

    Args:
        store: Keeps the twins.
        depot: What is published.
        routes: The way to every device.
        clock: Gives aware UTC times.
        keys: The controller's folder of keys.
        read_file: Reads a file of the repository, as it is in force; raises EdgewrightError where there is none.
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
        self._attendance: SshPool | None = None
        self._notes = TwinWrites(store, self.system)

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """As in TwinDriver; devices are gone to at once."""
        super().assign(assignments, configs)
        self._tell()

    def cancel(self, devices: Collection[str]) -> None:
        """As in TwinDriver."""
        super().cancel(devices)
        self._tell()

    def retire(self, devices: Sequence[str]) -> None:
        """As in TwinDriver."""
        super().retire(devices)
        self._tell()

    @contextmanager
    def attend(self, wake: Callable[[], None]) -> Iterator[None]:
        """Go to devices as their turns come, within the block."""
        attendance = SshPool(self.store, self.routes, self.visit, self.clock, wake)
        attendance.start()
        self._attendance = attendance
        try:
            yield
        finally:
            self._attendance = None
            attendance.stop()

    def _tell(self) -> None:
        if (attendance := self._attendance) is not None:
            attendance.look_again()

    def visit(self, route: Route, cutoff: Deadline) -> Ended:
        """Make one pass over a device. What is wrong with it is noted in its twin; nothing is raised for that.

        Args:
            route: The way to it.
            cutoff: Ends the pass.
        """
        from edgewright.delivery.pushed.ssh.session import Session, note_trouble

        device = route.device.id
        before = self.store.twin(device)
        trouble: Trouble | None = None
        visit: Session | None = None
        try:
            visit = Session(self._place(route), self._notes, self.depot, self._dialer, self.clock, cutoff)
            visit.make()
        except Trouble as error:
            trouble = error
        except Stopped:
            return Ended(failed=False, twin=None)
        except EdgewrightError as error:
            log.warning("%s: %s%s", device, error.message, f" ({error.hint})" if error.hint else "")
            return Ended(failed=True, twin=self.store.twin(device))
        after = self.store.twin(device)
        if trouble is not None:
            after = self._notes.change(device, lambda twin: note_trouble(twin, trouble))
            if before is None or before.reason != trouble.reason:
                log.warning("%s: %s: %s", device, trouble.reason, trouble.message)
        news = after is not None and after.sequence != (before.sequence if before is not None else 0)
        # An upload that was cut and got on is continued at once.
        goes_on = isinstance(trouble, (TimedOut, Broken)) and visit is not None and visit.sent > 0
        return Ended(failed=trouble is not None and not goes_on, twin=after, news=news)

    def _place(self, route: Route) -> Target:
        try:
            return find_place(route, _own_user())
        except ValueError as error:
            raise NoWay("Misconfigured", f"fleet {route.fleet}, device {route.device.id}: {error}") from error

    @cached_property
    def _dialer(self) -> "Dialer":
        from edgewright.delivery.pushed.ssh.connecting import Dialer
        from edgewright.delivery.pushed.ssh.keyring import Keyring

        return Dialer(Keyring(self._keys), self._read_file)


def _own_user() -> str:
    """Who the controller runs as; a container may not know that user's name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "root"
