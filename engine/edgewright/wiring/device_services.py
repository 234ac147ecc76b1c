"""The services of device APIs in each environment, made from its twins, its identities and its accepted revision.

Assembled by ``serving``. A standby controller serves devices as well as the active one does.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from edgewright.core.fleet.enrollment import listed
from edgewright.core.fleet.routes import Route
from edgewright.core.snapshot import Snapshot
from edgewright.delivery.repository.depot import Depot
from edgewright.errors import EdgewrightError
from edgewright.ports import IdentityStore, ReportInbox, TwinStore, Upstream
from edgewright.reconcile.accepted import accepted
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlIdentities, SqlInbox, SqlTwins
from edgewright.wiring.routes import RouteTable
from edgewright.wiring.workspace import Workspace

S = TypeVar("S")
_GATHER_SECONDS = 0.2
_REVISION_SECONDS = 1.0
"""How long the accepted revision is taken for the same."""


@dataclass(frozen=True, slots=True)
class EnvironmentContext:
    """The parts that services of any update system are made from, in one environment."""

    environment: str
    twins: TwinStore
    identities: IdentityStore
    inbox: ReportInbox
    routes: Callable[[], Mapping[str, Route]]
    repository: Path
    """Folder of what is published."""
    depot: Depot
    cache: Path
    """Folder for bundles; what is lost there is built again."""
    keys: Path
    clock: Callable[[], datetime]
    wake: Callable[[], None]
    url: str | None
    """The URL at which devices reach edgewright, as declared."""
    registry: SqlState
    """Stores enrolled devices."""
    listed: Callable[[str], bool]
    """Returns whether an inventory that admits its devices lists a device."""
    read: Callable[[str], bytes]
    """Reads a file of the repository, at the accepted revision."""


class EnvironmentServices:
    """Finds the contexts of environments. Safe to use from several threads.

    Args:
        workspace: The process's.
        upstream: The repository, which all environments share.
        wake: Called with the environment whose devices have news.
    """

    def __init__(self, workspace: Workspace, upstream: Upstream, wake: Callable[[str], None]) -> None:
        self._workspace = workspace
        self._upstream = upstream
        self._wake = wake
        self._lock = threading.Lock()
        self._environments: dict[str, _ServedEnvironment] = {}

    def find(self, environment: str, served: bool) -> EnvironmentContext | None:
        """Find an environment's context.

        Args:
            environment: Its name; empty where the repository declares none.
            served: Whether this process serves it at all.

        Returns:
            None where it is not served, or no revision is accepted there yet.

        Raises:
            EdgewrightError: The store or the repository cannot be read.
        """
        if not served:
            return None
        with self._lock:
            served_environment = self._environments.get(environment)
            if served_environment is None:
                workspace = self._workspace.for_environment(environment)
                served_environment = _ServedEnvironment(
                    workspace, self._upstream, CoalescedCall(lambda: self._wake(environment))
                )
                self._environments[environment] = served_environment
        return served_environment.context()


class CoalescedCall:
    """Calls once for what happens close together: devices report by the thousand, and one pass takes all of it up."""

    def __init__(self, act: Callable[[], None], seconds: float = _GATHER_SECONDS) -> None:
        self._act = act
        self._seconds = seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __call__(self) -> None:
        """Call soon, once for all calls until then."""
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(self._seconds, self._go)
                self._timer.daemon = True
                self._timer.start()

    def _go(self) -> None:
        with self._lock:
            self._timer = None
        self._act()


class _ServedEnvironment:
    """One environment, at its accepted revision."""

    def __init__(self, workspace: Workspace, upstream: Upstream, wake: Callable[[], None]) -> None:
        self._workspace = workspace
        self._upstream = upstream
        self._wake = wake
        self._lock = threading.Lock()
        self._revision: str | None = None
        self._checked = float("-inf")
        self._snapshot: Snapshot | None = None
        self._context: EnvironmentContext | None = None
        state = workspace.state
        self._twins, self._identities, self._inbox = SqlTwins(state), SqlIdentities(state), SqlInbox(state)
        self._routes = RouteTable(self._accepted_revision, self._desired, state.enrolled)

    def context(self) -> EnvironmentContext | None:
        with self._lock:
            revision = self._accepted_revision()
            if revision is None:
                return None
            if self._context is None or self._snapshot is None or self._snapshot.revision != revision:
                self._context = self._make(self._desired())
            return self._context

    def _accepted_revision(self) -> str | None:
        now = time.monotonic()
        if self._revision is None or now - self._checked >= _REVISION_SECONDS:
            self._revision, self._checked = accepted(self._workspace.state), now
        return self._revision

    def _desired(self) -> Snapshot:
        revision = self._revision
        if revision is None:
            raise EdgewrightError("no revision is accepted yet")
        if self._snapshot is None or self._snapshot.revision != revision:
            self._snapshot = self._upstream.source(lambda: revision, self._workspace.env).snapshot()
        return self._snapshot

    def _make(self, desired: Snapshot) -> EnvironmentContext:
        workspace = self._workspace
        folder, spec = workspace.delivery_folder(desired), workspace.delivery_spec(desired)
        admitted = listed(desired) if spec.enrollment == "inventory" else frozenset()
        return EnvironmentContext(
            environment=workspace.env,
            twins=self._twins,
            identities=self._identities,
            inbox=self._inbox,
            routes=self._routes,
            repository=folder,
            depot=Depot(folder),
            cache=workspace.bundles,
            keys=workspace.keys,
            clock=workspace.clock,
            wake=self._wake,
            url=spec.url,
            registry=workspace.state,
            listed=admitted.__contains__,
            read=lambda path: self._upstream.source(lambda: desired.revision, workspace.env).read(
                desired.revision, path
            ),
        )


class DeviceServices(Generic[S]):
    """The services of one update system, one for each environment. Safe to use from several threads.

    A service is made when the first device of its environment asks, and anew when another revision is accepted.

    Args:
        contexts: Finds the contexts of environments.
        served: Returns the environments that this process serves now.
        make: Makes a service.
    """

    def __init__(
        self,
        contexts: EnvironmentServices,
        served: Callable[[], Collection[str]],
        make: Callable[[EnvironmentContext], S],
    ) -> None:
        self._contexts = contexts
        self._served = served
        self._make = make
        self._made: dict[str, tuple[EnvironmentContext, S]] = {}

    def find(self, environment: str) -> S | None:
        """Find an environment's service; devices that name none belong to the only environment there is.

        Raises:
            EdgewrightError: The store, the repository or a key cannot be read.
        """
        served = self._served()
        if not environment and len(served) == 1:
            environment = next(iter(served))
        context = self._contexts.find(environment, environment in served)
        if context is None:
            return None
        known = self._made.get(environment)
        if known is None or known[0] is not context:
            known = self._made[environment] = (context, self._make(context))
        return known[1]
