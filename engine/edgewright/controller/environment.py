"""What the controller needs of one environment. Wired by ``cli``, which alone knows the drivers."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from edgewright.core.planning.plan import Plan
from edgewright.core.snapshot import Snapshot
from edgewright.ports import Cancel, Lease, StateReader, StateWriter
from edgewright.reconcile.accepted import AcceptedSource
from edgewright.reconcile.listener import Listener
from edgewright.reconcile.notifications import Dispatcher
from edgewright.reconcile.reconciler import Reconciler


class Environment(Protocol):
    """One environment, ready to be controlled."""

    @property
    def name(self) -> str:
        """The environment's name; empty where the repository declares none."""
        ...

    @property
    def reader(self) -> StateReader:
        """What is known of reality."""
        ...

    @property
    def writer(self) -> StateWriter:
        """The same store; the lease must be held, but for signals."""
        ...

    def followed(self) -> AcceptedSource:
        """What is in force, of a source that others fetch."""
        ...

    def lease(self, cancel: Cancel) -> AbstractContextManager[Lease | None]:
        """Stand by until the right to change things is ours; None when ``cancel`` was set first.

        Raises:
            StateError: The store cannot be used, and waiting would not change that.
        """
        ...

    def reconciler(self, desired: Snapshot, lease: Lease, listener: Listener, followed: AcceptedSource) -> Reconciler:
        """A run, wired as a revision declares."""
        ...

    def plan(self, proposed: Snapshot, in_force: Snapshot | None) -> Plan:
        """What a run would do with what somebody proposes; reads only, and only where what is in force says to."""
        ...

    def dispatcher(self, desired: Snapshot) -> Dispatcher:
        """Who is told of what happens, as a revision declares.

        Raises:
            NoticeError: Secrets are missing.
        """
        ...

    def watch_reports(self, desired: Snapshot, on_report: Callable[[], None]) -> AbstractContextManager[Path | None]:
        """Call back when a device has reported, where that can be watched; else gives None."""
        ...
