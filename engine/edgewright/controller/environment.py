"""The port through which the controller uses one environment; implemented by ``wiring.environments``."""

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
        """Return the environment's name; empty where the repository declares none."""
        ...

    @property
    def reader(self) -> StateReader:
        """Return the read side of the state store."""
        ...

    @property
    def writer(self) -> StateWriter:
        """Return the write side of the same store; all but signals need the lease."""
        ...

    def followed(self) -> AcceptedSource:
        """Return the source of accepted revisions; the supervisor fetches for it."""
        ...

    def lease(self, cancel: Cancel) -> AbstractContextManager[Lease | None]:
        """Wait for the lease and hold it; None when ``cancel`` was set first.

        Raises:
            StateError: The store cannot be used, and waiting would not change that.
        """
        ...

    def reconciler(self, desired: Snapshot, lease: Lease, listener: Listener, followed: AcceptedSource) -> Reconciler:
        """Build the reconciler for a revision."""
        ...

    def plan(self, proposed: Snapshot, in_force: Snapshot | None) -> Plan:
        """Plan a proposed revision. Reads only, and only the sources that the accepted revision declares."""
        ...

    def collect(self) -> str:
        """Remove what no environment needs, between two passes; say what was removed.

        Raises:
            EdgewrightError: It cannot be judged now.
        """
        ...

    def dispatcher(self, desired: Snapshot) -> Dispatcher:
        """Build the dispatcher for the notification receivers of a revision.

        Raises:
            NotificationError: Secrets are missing.
        """
        ...

    def watch_reports(self, desired: Snapshot, on_report: Callable[[], None]) -> AbstractContextManager[Path | None]:
        """Call ``on_report`` when a device reports; yields None where the folder cannot be watched."""
        ...
