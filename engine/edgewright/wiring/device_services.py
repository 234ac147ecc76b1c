"""What device APIs are served from: each environment's twins and identities, and what is in force there.

Made by ``commands/serve``. A controller that stands by serves devices as well as the active one does.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

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

_GATHER_SECONDS = 0.2
_REVISION_SECONDS = 1.0
"""How long the revision in force is believed to be still the same."""


@dataclass(frozen=True, slots=True)
class EnvironmentContext:
    """What a desk of any update system needs of its environment."""

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
    """Where devices reach us, as declared."""
    registry: SqlState
    """Where enrolled devices are kept."""
    listed: Callable[[str], bool]
    """Whether a device's place in an inventory lets it in."""
    read: Callable[[str], bytes]
    """Reads a file of the repository, as it is in force."""


class EnvironmentServices:
    """Finds the surroundings of environments. Safe to use from several threads.

    Args:
        workspace: The process's.
        upstream: The repository, which all environments share.
        wake: Told which environment has news of its devices.
    """

    def __init__(self, workspace: Workspace, upstream: Upstream, wake: Callable[[str], None]) -> None:
        self._workspace = workspace
        self._upstream = upstream
        self._wake = wake
        self._lock = threading.Lock()
        self._places: dict[str, _ServedEnvironment] = {}

    def find(self, environment: str, served: bool) -> EnvironmentContext | None:
        """Find an environment's surroundings.

        Args:
            environment: Its name; empty where the repository declares none.
            served: Whether this process serves it at all.

        Returns:
            None where it is not served, or nothing is in force there yet.

        Raises:
            EdgewrightError: The store or the repository cannot be read.
        """
        if not served:
            return None
        with self._lock:
            place = self._places.get(environment)
            if place is None:
                workspace = self._workspace.for_environment(environment)
                place = _ServedEnvironment(workspace, self._upstream, CoalescedCall(lambda: self._wake(environment)))
                self._places[environment] = place
        return place.surroundings()


class CoalescedCall:
    """Calls once for what happens close together: devices come by the thousand, and a pass takes up all their news."""

    def __init__(self, act: Callable[[], None], seconds: float = _GATHER_SECONDS) -> None:
        self._act = act
        self._seconds = seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __call__(self) -> None:
        """Say that there is news."""
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
    """One environment, as it is in force."""

    def __init__(self, workspace: Workspace, upstream: Upstream, wake: Callable[[], None]) -> None:
        self._workspace = workspace
        self._upstream = upstream
        self._wake = wake
        self._lock = threading.Lock()
        self._revision: str | None = None
        self._looked = float("-inf")
        self._snapshot: Snapshot | None = None
        self._made: EnvironmentContext | None = None
        state = workspace.state
        self._twins, self._identities, self._inbox = SqlTwins(state), SqlIdentities(state), SqlInbox(state)
        self._routes = RouteTable(self._in_force, self._desired, state.enrolled)

    def surroundings(self) -> EnvironmentContext | None:
        with self._lock:
            revision = self._in_force()
            if revision is None:
                return None
            if self._made is None or self._snapshot is None or self._snapshot.revision != revision:
                self._made = self._make(self._desired())
            return self._made

    def _in_force(self) -> str | None:
        now = time.monotonic()
        if self._revision is None or now - self._looked >= _REVISION_SECONDS:
            self._revision, self._looked = accepted(self._workspace.state), now
        return self._revision

    def _desired(self) -> Snapshot:
        revision = self._revision
        if revision is None:
            raise EdgewrightError("nothing is in force yet")
        if self._snapshot is None or self._snapshot.revision != revision:
            self._snapshot = self._upstream.source(lambda: revision, self._workspace.env).snapshot()
        return self._snapshot

    def _make(self, desired: Snapshot) -> EnvironmentContext:
        workspace = self._workspace
        folder, spec = workspace.delivery_folder(desired), workspace.delivery_spec(desired)
        let_in = listed(desired) if spec.enrollment == "inventory" else frozenset()
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
            listed=let_in.__contains__,
            read=lambda path: self._upstream.source(lambda: desired.revision, workspace.env).read(
                desired.revision, path
            ),
        )
